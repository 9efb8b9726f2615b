"""The guard against divergence: its limits, and the exceptions that rewind or end a run."""

from __future__ import annotations

import math

import attrs

from ultra_core.errors import UltraError


class TrainingDiverged(UltraError):
    """Training diverged again after everything that a run may try."""


class RollbackNeeded(Exception):
    """Training cannot continue and must return to the last intact checkpoint."""


@attrs.define(kw_only=True)
class Guard:
    """Limits on what an update may look like.

    Attributes:
        threshold: gradient norm before clipping above which an update is dropped
            (``inf_post_clip_threshold``).
        patience: number of updates dropped in a row after which the run rolls back (``max_nan_retries``).
        scan_every: number of updates between two scans of all weights (``nan_check_interval``).
    """

    threshold: float = math.inf
    patience: int = 3
    scan_every: int = 10

    def objection(self, loss: float, grad_norm: float) -> str | None:
        """Return why an update with this loss and gradient norm must not be applied, or None."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(grad_norm):
            return f"the gradient norm is {grad_norm}"
        if grad_norm > self.threshold:
            return f"the gradient norm {grad_norm:.4g} is above inf_post_clip_threshold {self.threshold:g}"
        return None
