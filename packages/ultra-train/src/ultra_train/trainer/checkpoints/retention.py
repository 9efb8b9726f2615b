"""Which checkpoints are kept: the newest and the best, within a storage budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ultra_train.trainer.checkpoints.folders import Checkpoint, list_checkpoints
from ultra_train.trainer.checkpoints.removal import remove_checkpoint


@attrs.frozen(kw_only=True)
class RetentionPolicy:
    """Which checkpoints are kept: the newest and the best ones.

    Attributes:
        newest: number of the newest ones that are kept; at least one is.
        best: number of the best ones that are kept.
        metric: the metric that ranks them.
        greater_is_better: whether a greater value of the metric is better.
    """

    newest: int = 3
    best: int = 0
    metric: str = "eval_loss"
    greater_is_better: bool = False

    def ranked(self, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
        """Return the checkpoints that were evaluated, best first; of equal ones, the newer first."""
        rated = []
        for checkpoint in checkpoints:
            value = (_metrics(checkpoint) or {}).get(self.metric)
            if isinstance(value, (int, float)) and value == value:
                rated.append((-value if self.greater_is_better else value, -checkpoint.step, checkpoint))
        return [checkpoint for *_, checkpoint in sorted(rated, key=lambda r: r[:2])]

    def would_rank(self, value: float, checkpoints: list[Checkpoint]) -> bool:
        """Return whether a checkpoint with this value of the metric would be among the best that are kept."""
        best = self.ranked(checkpoints)[: self.best]
        if self.best == 0 or value != value:
            return False
        if len(best) < self.best:
            return True
        worst = (_metrics(best[-1]) or {})[self.metric]
        return bool(value > worst if self.greater_is_better else value < worst)

    def is_better(self, checkpoint: Checkpoint, metrics: Mapping[str, float]) -> bool:
        """Whether a ranked checkpoint has a better value of the metric than these; NaN is the worst one."""
        value, own = metrics.get(self.metric), (_metrics(checkpoint) or {})[self.metric]
        if not isinstance(value, (int, float)) or value != value:
            return True
        return bool(own > value if self.greater_is_better else own < value)

    def superfluous(self, checkpoints: list[Checkpoint]) -> Iterator[Checkpoint]:
        """Yield the checkpoints that need not be kept, oldest first, except those without a manifest."""
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


def rotate_checkpoints(root: Path, retention: RetentionPolicy) -> None:
    """Remove the checkpoints that need not be kept."""
    for checkpoint in retention.superfluous(list_checkpoints(root)):
        remove_checkpoint(checkpoint)
