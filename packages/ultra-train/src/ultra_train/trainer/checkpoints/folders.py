"""Checkpoint folders: finding them, and checking that they are intact.

A checkpoint is written into a hidden folder beside the others, its manifest of checksums last, and then
renamed. So a folder named ``checkpoint-<step>`` is complete whenever the process is killed; if the disk
damaged it nevertheless, the checksums show it, and the next older checkpoint is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_train.system import files
from ultra_train.system.checksums import checksum

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
NAME = re.compile(rf"{PREFIX}(0|[1-9][0-9]{{0,17}})")
WRITING = ".writing-"
REMOVING = ".removing-"
UNFINISHED = ".unfinished"
"""Marks a folder that is being written, until its manifest is complete: all files in it are ours."""


class CheckpointError(UltraError):
    """Raised for a checkpoint that cannot be written or read."""


@attrs.frozen
class Checkpoint:
    """A folder that claims to be a checkpoint."""

    path: Path
    step: int

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest: ``files`` with their checksums, ``metrics``, and other facts about the run.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a manifest that ultra wrote.
        """
        return read_manifest(self.path)

    def damage(self) -> str | None:
        """Return what is wrong with it, or None when every file is as written and all numbers are finite."""
        from ultra_train.trainer.checkpoints.content import content_damage  # imports torch

        try:
            listed = self.manifest["files"]
        except (OSError, ValueError) as error:
            return f"its manifest cannot be read ({error})"
        for name, facts in listed.items():
            path = self.path / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, {facts['bytes']} were written"
            if checksum(path) != facts["sha256"]:
                return f"{name} is not what was written (checksum)"
        return content_damage(self.path, listed)

    @property
    def readable(self) -> bool:
        """Whether its manifest can be read."""
        try:
            read_manifest(self.path)
        except (OSError, ValueError):
            return False
        return True

    def size(self) -> int:
        """Return its size in bytes."""
        return folder_size(self.path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint.

    Raises:
        OSError: it cannot be read.
        ValueError: ultra did not write it; it also has no names of files outside of the folder.
    """
    manifest = files.read_json(folder / MANIFEST)
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(listed, dict):
        raise ValueError(f"{folder / MANIFEST} is not a manifest: it lists no files")
    for name, facts in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise ValueError(
                f"{folder / MANIFEST} is not a manifest: {name[:80]!r} is not the name of a file in it"
            )
        size, digest = (facts.get("bytes"), facts.get("sha256")) if isinstance(facts, dict) else (None, None)
        if type(size) is not int or not isinstance(digest, str):
            raise ValueError(f"{folder / MANIFEST} is not a manifest: {name[:80]!r} has no size and checksum")
    return manifest


def folder_size(path: Path) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile do not count."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def list_checkpoints(root: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run, newest first, unchecked."""
    if not root.is_dir():
        return []
    named = ((path, NAME.fullmatch(path.name)) for path in root.iterdir())
    there = [Checkpoint(path, int(name[1])) for path, name in named if name and path.is_dir()]
    return sorted(there, key=lambda c: -c.step)


def newest_intact(
    root: Path,
    warn: Callable[[str], None] = lambda _: None,
    *,
    check: Callable[[Checkpoint], str | None] = lambda _: None,
) -> Checkpoint | None:
    """Return the newest checkpoint that is intact, or None.

    Args:
        root: folder of the run's checkpoints.
        warn: is called with a line about every damaged one that is skipped.
        check: returns what else is wrong with a checkpoint, or None.
    """
    for candidate in list_checkpoints(root):
        damage = candidate.damage() or check(candidate)
        if damage is None:
            return candidate
        warn(f"{candidate.path} is damaged and not used: {damage}")
    return None


def newest_name(root: Path) -> str:
    """Return the name of the newest intact checkpoint, for error messages."""
    newest = newest_intact(root)
    return newest.path.name if newest else "its beginning"
