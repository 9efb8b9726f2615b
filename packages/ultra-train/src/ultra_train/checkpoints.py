"""Checkpoint folders: whole or not there at all, checked when read, the oldest ones going first.

A checkpoint is written into a hidden folder beside the others, with a manifest of checksums last, and then
renamed. Whatever kills the process, a folder named ``checkpoint-<step>`` is whole; should the disk have lied,
the checksums say so and the next older one is taken.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ultra_core.errors import UltraError

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
WRITING = ".writing-"


class CheckpointError(UltraError):
    """A checkpoint that cannot be written or read."""


@attrs.frozen
class Checkpoint:
    """A folder that claims to be a checkpoint."""

    path: Path
    step: int

    @property
    def manifest(self) -> dict[str, Any]:
        """What its writer recorded: ``files`` with checksums, ``metrics``, and other facts."""
        loaded = json.loads((self.path / MANIFEST).read_text("utf-8"))
        if not isinstance(loaded, dict) or not isinstance(loaded.get("files"), dict):
            raise ValueError(f"{self.path / MANIFEST} is no manifest")
        return loaded

    def damage(self) -> str | None:
        """Say what is wrong with it, or None when every file is as it was written."""
        try:
            files = self.manifest["files"]
        except (OSError, ValueError) as error:
            return f"its manifest cannot be read ({error})"
        for name, facts in files.items():
            path = self.path / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, {facts['bytes']} were written"
            if checksum(path) != facts["sha256"]:
                return f"{name} is not what was written (checksum)"
        return None

    def size(self) -> int:
        """Bytes that it takes."""
        return folder_size(self.path)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def found(root: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run, newest first, unchecked."""
    if not root.is_dir():
        return []
    entries = [p for p in root.iterdir() if p.name.startswith(PREFIX) and p.name[len(PREFIX) :].isdigit()]
    return sorted((Checkpoint(p, int(p.name[len(PREFIX) :])) for p in entries), key=lambda c: -c.step)


def newest_whole(root: Path, warn: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """Return the newest checkpoint whose checksums agree; ``warn`` hears of every damaged one passed over."""
    for candidate in found(root):
        damage = candidate.damage()
        if damage is None:
            return candidate
        warn(f"{candidate.path} is damaged and not used: {damage}")
    return None


def write(root: Path, step: int, fill: Callable[[Path], None], facts: Mapping[str, Any]) -> Checkpoint:
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
    temporary = root / f"{WRITING}{step}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        files = {
            p.relative_to(temporary).as_posix(): {"bytes": p.stat().st_size, "sha256": checksum(p)}
            for p in sorted(temporary.rglob("*"))
            if p.is_file()
        }
        manifest = {"step": step, **facts, "files": files}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
        for name in [*files, MANIFEST]:
            _sync(temporary / name)
        _sync(temporary)
        if target.path.exists():  # of a course that was left, or damaged; the new one replaces it
            target.path.rename(root / f"{WRITING}old-{step}-{os.getpid()}")
        temporary.rename(target.path)
        _sync(root)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not is_full_disk(error):
            raise
        raise CheckpointError(
            f"the disk is full: the checkpoint of step {step} could not be written to {root}. Nothing "
            f"half-written was left. Free some space, or lower training.max_rolling_checkpoints and "
            f"training.num_best_checkpoints; the run goes on from {_newest_name(root)} with --resume."
        ) from error
    clean(root)
    return target


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk or the quota is full (safetensors reports it as text)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error).lower()
    return any(said in text for said in ("no space left", "quota exceeded", "os error 28", "file too large"))


def _newest_name(root: Path) -> str:
    newest = newest_whole(root)
    return newest.path.name if newest else "its beginning"


def set_aside(root: Path, newer_than: int) -> None:
    """Rename what is newer than a step (damaged, or of a course that was left) out of the way."""
    for checkpoint in found(root):
        if checkpoint.step > newer_than:
            aside = root / f"unused-{checkpoint.path.name}"
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.path.rename(aside)


def clean(root: Path) -> None:
    """Remove what killed writers left behind."""
    for path in root.glob(f"{WRITING}*"):
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


@attrs.frozen(kw_only=True)
class Keeping:
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
        worst = float((_metrics(best[-1]) or {})[self.metric])
        return value > worst if self.greater_is_better else value < worst

    def superfluous(self, checkpoints: list[Checkpoint]) -> Iterator[Checkpoint]:
        """Yield those that need not stay, oldest first."""
        stay = {c.step for c in checkpoints[: max(1, self.newest)]}
        stay |= {c.step for c in self.ranked(checkpoints)[: self.best]}
        yield from (c for c in reversed(checkpoints) if c.step not in stay)


def _metrics(checkpoint: Checkpoint) -> dict[str, Any] | None:
    try:
        metrics = checkpoint.manifest.get("metrics")
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) else None


def rotate(root: Path, keeping: Keeping) -> None:
    """Delete the checkpoints that need not stay."""
    for checkpoint in keeping.superfluous(found(root)):
        shutil.rmtree(checkpoint.path, ignore_errors=True)


def make_room(
    root: Path, need: int, keeping: Keeping, *, budget: int | None = None, used: Path | None = None
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

    spare = keeping.superfluous(found(root)) if short() is None else _expendable(root, keeping)
    for checkpoint in spare:
        if short() is None:
            return
        shutil.rmtree(checkpoint.path, ignore_errors=True)
    if (reason := short()) is not None:
        raise CheckpointError(
            f"no room for the next checkpoint: it takes about {_mb(need)}, but {reason}. Free some space or "
            f"raise the budget; the run goes on from {_newest_name(root)} with --resume."
        )


def _expendable(root: Path, keeping: Keeping) -> Iterator[Checkpoint]:
    return attrs.evolve(keeping, newest=1).superfluous(found(root))


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
