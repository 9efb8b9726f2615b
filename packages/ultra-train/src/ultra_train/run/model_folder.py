"""Publishing a finished model into its folder, which may contain files of other programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ultra_train.system import files
from ultra_train.system.checksums import checksum, checksums
from ultra_train.system.owned_files import OwnedFiles

INSIDE = ".unfinished-"
UNFINISHED = ".unfinished"
"""Marks a folder in which a model is being written, whose whole content may be removed."""


def publish(folder: Path, fill: Callable[[Path], None], made: OwnedFiles, say: Callable[[str], None]) -> None:
    """Write a model into a new folder, and move its files into place once all are written.

    A file of an earlier save of this run is replaced; any other file of the same name is renamed first.

    Args:
        folder: the folder of the model.
        fill: writes the model into the folder that it is given.
        made: the record of the files that the run owns.
        say: prints which files were renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = not folder.exists()
    _clean(folder)
    where, prefix = (folder.parent, f".{folder.name}-") if beside else (folder, INSIDE)
    temporary = files.new_folder(where, prefix)
    try:
        (temporary / UNFINISHED).touch()
        fill(temporary)
        (temporary / UNFINISHED).unlink()
        new, old = checksums(temporary), _recorded(made, folder)
        either = {**old, **{name: [*old.get(name, ()), digest] for name, digest in new.items()}}
        made.put("model", {"folder": str(folder.absolute()), "files": either})  # a kill leaves some of each
        if beside and not os.path.lexists(folder):
            temporary.rename(folder)
        else:
            _move(temporary, folder, list(new), old, say)
        made.put("model", {"folder": str(folder.absolute()), "files": {n: [d] for n, d in new.items()}})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clean(folder: Path) -> None:
    """Remove the marked folders that killed processes left."""
    for left in [*folder.parent.glob(f".{folder.name}-*"), *folder.glob(f"{INSIDE}*")]:
        if (left / UNFINISHED).is_file() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _recorded(made: OwnedFiles, folder: Path) -> dict[str, list[str]]:
    facts = made.get("model")
    listed = facts.get("files") if facts.get("folder") == str(folder.absolute()) else None
    entries = listed.items() if isinstance(listed, dict) else ()
    return {name: digests for name, digests in entries if isinstance(digests, list)}


def _move(
    source: Path, target: Path, names: list[str], ours: dict[str, list[str]], say: Callable[[str], None]
) -> None:
    for name in names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(place) and not (place.is_file() and checksum(place) in ours.get(name, ())):
            aside = files.set_aside(place)
            say(f"notice: {place} is not as this run wrote it; it is now {aside.name}")
        os.replace(source / name, place)
