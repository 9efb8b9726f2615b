"""Checkpoint folders: whole or not there at all, checked when read, the oldest ones going first.

A checkpoint is written into a hidden folder beside the others, with a manifest of checksums last, and then
renamed. Whatever kills the process, a folder named ``checkpoint-<step>`` is whole; should the disk have lied,
the checksums say so and the next older one is taken.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_train.system import files
from ultra_train.system.owned_files import checksum

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
NAME = re.compile(rf"{PREFIX}(0|[1-9][0-9]{{0,17}})")
WRITING = ".writing-"
REMOVING = ".removing-"
UNFINISHED = ".unfinished"
"""Marks a folder of :func:`write` until its manifest is there: all that is in it is ours."""


class CheckpointError(UltraError):
    """A checkpoint that cannot be written or read."""


@attrs.frozen
class Checkpoint:
    """A folder that claims to be a checkpoint."""

    path: Path
    step: int

    @property
    def manifest(self) -> dict[str, Any]:
        """What its writer recorded: ``files`` with checksums, ``metrics``, and other facts.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not what ultra writes.
        """
        return read_manifest(self.path)

    def damage(self) -> str | None:
        """Say what is wrong with it, or None when every file is as written and its numbers are finite."""
        from ultra_train.trainer.checkpoints.content import content_damage

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
        """Bytes that it takes."""
        return folder_size(self.path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what ultra writes; names of files that lead out of the folder are not either.
    """
    manifest = files.read_json(folder / MANIFEST)
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(listed, dict):
        raise ValueError(f"{folder / MANIFEST} is no manifest: it lists no files")
    for name, facts in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise ValueError(
                f"{folder / MANIFEST} is no manifest: {name[:80]!r} is not the name of a file in it"
            )
        size, digest = (facts.get("bytes"), facts.get("sha256")) if isinstance(facts, dict) else (None, None)
        if type(size) is not int or not isinstance(digest, str):
            raise ValueError(f"{folder / MANIFEST} is no manifest: {name[:80]!r} has no size and checksum")
    return manifest


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
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
    """Return the newest checkpoint whose checksums agree.

    Args:
        root: folder of the run's checkpoints.
        warn: hears of every damaged one that is passed over.
        check: says what else is wrong with one, or None.
    """
    for candidate in list_checkpoints(root):
        damage = candidate.damage() or check(candidate)
        if damage is None:
            return candidate
        warn(f"{candidate.path} is damaged and not used: {damage}")
    return None


def write_checkpoint(
    root: Path, step: int, fill: Callable[[Path], None], facts: Mapping[str, Any]
) -> Checkpoint:
    """Write a checkpoint so that it is there whole or not at all.

    Args:
        root: folder of the run's checkpoints.
        step: number of updates it stands for.
        fill: writes the files into the folder it is given.
        facts: what goes into the manifest beside the checksums.

    Raises:
        CheckpointError: the disk is full or refuses; nothing half-written stays.
    """
    target = Checkpoint(root / f"{PREFIX}{step}", step)
    temporary = None
    try:
        temporary = files.new_folder(root, f"{WRITING}{step}-")
        (temporary / UNFINISHED).touch()
        fill(temporary)
        written = {
            p.relative_to(temporary).as_posix(): {"bytes": p.stat().st_size, "sha256": checksum(p)}
            for p in sorted(temporary.rglob("*"))
            if p.is_file() and p.name != UNFINISHED
        }
        manifest = {"step": step, **facts, "files": written}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
        for name in [*written, MANIFEST]:
            files.sync(temporary / name)
        (temporary / UNFINISHED).unlink()
        files.sync(temporary)
        if target.path.exists():  # of a course that was left, or damaged; the new one replaces it
            remove_checkpoint(target)
        temporary.rename(target.path)
        files.sync(root)
    except Exception as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not is_full_disk(error):
            raise
        raise CheckpointError(
            f"the disk is full: the checkpoint of step {step} could not be written to {root}. Nothing "
            f"half-written was left. Free some space, or lower training.max_rolling_checkpoints and "
            f"training.num_best_checkpoints; the run goes on from {_newest_name(root)} with --resume."
        ) from error
    remove_unfinished(root)
    return target


def record_metrics(root: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Record what a checkpoint was found to be worth after it was written."""
    checkpoint = Checkpoint(root / f"{PREFIX}{step}", step)
    if checkpoint.readable:
        text = json.dumps({**checkpoint.manifest, "metrics": dict(metrics)}, indent=1)
        files.write_text(checkpoint.path / MANIFEST, text)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk or the quota is full (safetensors reports it as text)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error).lower()
    return any(said in text for said in ("no space left", "quota exceeded", "os error 28", "file too large"))


def _newest_name(root: Path) -> str:
    newest = newest_intact(root)
    return newest.path.name if newest else "its beginning"


def set_aside(root: Path, newer_than: int) -> None:
    """Rename what is newer than a step (damaged, or of a course that was left) out of the way."""
    for checkpoint in list_checkpoints(root):
        if checkpoint.step > newer_than:
            _out_of_the_way(checkpoint.path, f"unused-{checkpoint.path.name}")


def _out_of_the_way(path: Path, name: str) -> None:
    aside = path.with_name(name)
    if os.path.lexists(aside):
        files.set_aside(path, name)
    else:
        path.rename(aside)


def remove_checkpoint(checkpoint: Checkpoint) -> None:
    """Remove a checkpoint: the files that its manifest lists.

    What else is in its folder stays, in a folder ``left-of-checkpoint-<step>``; a folder without a manifest
    of ours is renamed and nothing of it is removed.
    """
    if checkpoint.path.is_symlink() or not checkpoint.readable:
        _out_of_the_way(checkpoint.path, f"unused-{checkpoint.path.name}")
        return
    going = files.new_folder(checkpoint.path.parent, f"{REMOVING}{checkpoint.step}-")
    os.replace(checkpoint.path, going)  # from here on it is no checkpoint, whatever happens
    _remove_listed(going)


def _remove_listed(folder: Path) -> None:
    try:
        names = list(read_manifest(folder)["files"])
    except (OSError, ValueError):
        files.remove_empty(folder)
        return
    files.remove_files(folder, [*names, MANIFEST])
    files.remove_empty(folder)
    if folder.exists():
        step = folder.name.removeprefix(REMOVING).removeprefix(WRITING).split("-")[0]
        _out_of_the_way(folder, f"left-of-{PREFIX}{step}")


def remove_unfinished(root: Path) -> None:
    """Remove what killed writers left behind: folders that a marker or a manifest says are ours."""
    for path in [*root.glob(f"{WRITING}*"), *root.glob(f"{REMOVING}*")]:
        if (path / UNFINISHED).is_file() and path.name.startswith(WRITING):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_dir():
            _remove_listed(path)


@attrs.frozen(kw_only=True)
class RetentionPolicy:
    """Which checkpoints stay: the newest and the best ones."""

    newest: int = 3
    best: int = 0
    metric: str = "eval_loss"
    greater_is_better: bool = False

    def ranked(self, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
        """Return those that were evaluated, best first; of equals, the newer one."""
        rated = []
        for checkpoint in checkpoints:
            value = (_metrics(checkpoint) or {}).get(self.metric)
            if isinstance(value, (int, float)) and value == value:
                rated.append((-value if self.greater_is_better else value, -checkpoint.step, checkpoint))
        return [checkpoint for *_, checkpoint in sorted(rated, key=lambda r: r[:2])]

    def would_rank(self, value: float, checkpoints: list[Checkpoint]) -> bool:
        """Whether a checkpoint with this value of the metric would be among the best that are kept."""
        best = self.ranked(checkpoints)[: self.best]
        if self.best == 0 or value != value:
            return False
        if len(best) < self.best:
            return True
        worst = (_metrics(best[-1]) or {})[self.metric]
        return bool(value > worst if self.greater_is_better else value < worst)

    def superfluous(self, checkpoints: list[Checkpoint]) -> Iterator[Checkpoint]:
        """Yield those that need not stay, oldest first; one without a manifest is not ours to remove."""
        checkpoints = [c for c in checkpoints if c.readable]
        stay = {c.step for c in checkpoints[: max(1, self.newest)]}
        stay |= {c.step for c in self.ranked(checkpoints)[: self.best]}
        yield from (c for c in reversed(checkpoints) if c.step not in stay)


def _metrics(checkpoint: Checkpoint) -> dict[str, Any] | None:
    try:
        metrics = checkpoint.manifest.get("metrics")
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) else None


def rotate_checkpoints(root: Path, keeping: RetentionPolicy) -> None:
    """Delete the checkpoints that need not stay."""
    for checkpoint in keeping.superfluous(list_checkpoints(root)):
        remove_checkpoint(checkpoint)


def make_room(
    root: Path, need: int, keeping: RetentionPolicy, *, budget: int | None = None, used: Path | None = None
) -> None:
    """Make sure that ``need`` bytes fit: rolling checkpoints go, oldest first; the newest and the best never.

    Args:
        root: folder of the run's checkpoints.
        need: bytes that are about to be written.
        keeping: says which are the best.
        budget: bytes that the folder ``used`` may hold altogether, or None.
        used: folder that the budget counts.

    Raises:
        CheckpointError: they do not fit.
    """
    root.mkdir(parents=True, exist_ok=True)

    def short() -> str | None:
        free = shutil.disk_usage(root).free
        if free < need:
            return f"{_mb(free)} are free on the disk"
        taken = folder_size(used) if budget is not None and used is not None else 0
        if budget is not None and taken + need > budget:
            return f"training.storage_budget_gb allows {_mb(budget)} and {used} already takes {_mb(taken)}"
        return None

    spare = keeping.superfluous(list_checkpoints(root)) if short() is None else _expendable(root, keeping)
    for checkpoint in spare:
        if short() is None:
            return
        remove_checkpoint(checkpoint)
    if (reason := short()) is not None:
        raise CheckpointError(
            f"no room for the next checkpoint: it takes about {_mb(need)}, but {reason}. Free some space or "
            f"raise the budget; the run goes on from {_newest_name(root)} with --resume."
        )


def _expendable(root: Path, keeping: RetentionPolicy) -> Iterator[Checkpoint]:
    return attrs.evolve(keeping, newest=1).superfluous(list_checkpoints(root))


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
