"""The disk space of a run: its budget, and what makes room when it runs short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs

from ultra_train.data.idle_caches import idle_caches, remove_cache
from ultra_train.system import run_files
from ultra_train.system.disk_space import DiskFullError, free_bytes, megabytes
from ultra_train.trainer.checkpoints.folders import folder_size, list_checkpoints
from ultra_train.trainer.checkpoints.removal import remove_checkpoint
from ultra_train.trainer.checkpoints.retention import RetentionPolicy

_NEAR = 0.9


class StorageManager:
    """Keeps a run within a budget of disk space.

    Room is made by removing first rolling checkpoints, oldest first, and then token caches that no run has
    used for a day, longest unused first. The newest and the best checkpoints are never removed, nor files
    that are not ours.

    Args:
        run_folder: the folder of the run; the budget counts it.
        budget_gb: disk space that run and caches may take (GB); None for no limit but the disk.
        cache_dir: folder of the token caches, which the budget counts too; None counts and removes none.
        in_use: the caches that the run uses.
        retention: which checkpoints are the best ones; by default the two with the least ``eval_loss``.
        say: is called with a line when less than a tenth of the budget is left.
    """

    def __init__(
        self,
        run_folder: str | Path,
        *,
        budget_gb: float | None = 300.0,
        cache_dir: str | Path | None = None,
        in_use: Sequence[Path] = (),
        retention: RetentionPolicy | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.run_folder = Path(run_folder)
        self.budget = None if budget_gb is None else int(budget_gb * 1e9)
        self._cache_dir = None if cache_dir is None else Path(cache_dir)
        self._in_use = in_use
        self._retention = retention or RetentionPolicy(best=2)
        self._say = say
        self._warned = False

    @property
    def used(self) -> int:
        """Bytes of the run and of the token caches."""
        folders = [self.run_folder] if self._cache_dir is None else [self.run_folder, self._cache_dir]
        inside = [a for a in folders if any(b != a and a.is_relative_to(b) for b in folders)]
        return sum(folder_size(folder) for folder in folders if folder not in inside)

    @property
    def left(self) -> int:
        """Bytes that may still be written: what is left of the budget, or of the disk if that is less."""
        free = free_bytes(self.run_folder)
        return free if self.budget is None else max(0, min(free, self.budget - self.used))

    def make_room(self, need: int) -> None:
        """Make sure that ``need`` bytes fit, and warn when little is left afterwards.

        Raises:
            DiskFullError: they do not fit.
        """
        self.run_folder.mkdir(parents=True, exist_ok=True)
        for remove in self._removable():
            if self._shortage(need) is None:
                break
            remove()
        if (reason := self._shortage(need)) is not None:
            raise DiskFullError(
                f"no room for the next checkpoint: it takes about {megabytes(need)}, but {reason}. Free some "
                "space or raise the budget."
            )
        self._warn(need)

    def _removable(self) -> Iterator[Callable[[], object]]:
        checkpoints = list_checkpoints(self.run_folder / run_files.CHECKPOINTS)
        for checkpoint in attrs.evolve(self._retention, newest=1).superfluous(checkpoints):
            yield partial(remove_checkpoint, checkpoint)
        if self._cache_dir is not None:
            for cache in idle_caches(self._cache_dir, self._in_use):
                yield partial(remove_cache, cache)

    def _shortage(self, need: int) -> str | None:
        free = free_bytes(self.run_folder)
        if free < need:
            return f"{megabytes(free)} are free on the disk"
        if self.budget is None or (taken := self.used) + need <= self.budget:
            return None
        caches = "" if self._cache_dir is None else f" and {self._cache_dir}"
        return (
            f"training.storage_budget_gb allows {megabytes(self.budget)} and {self.run_folder}{caches} "
            f"already take {megabytes(taken)}"
        )

    def _warn(self, need: int) -> None:
        """Say once that the budget is nearly used up; again when it was not in between."""
        near = self.budget is not None and self.used + need > _NEAR * self.budget
        if near and not self._warned and self.budget is not None:
            self._say(
                f"notice: {megabytes(self.used + need)} of the {megabytes(self.budget)} of "
                "training.storage_budget_gb will be used; older checkpoints and unused token caches are "
                "removed when it is full"
            )
        self._warned = near
