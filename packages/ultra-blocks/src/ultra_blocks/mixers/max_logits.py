"""What attention blocks remember of their logits, for an optimizer that bounds them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ultra_core.contracts import LogitRows, Part


class MaxLogits(nn.Module):
    """Mixin of blocks that keep to :class:`ultra_core.contracts.RecordsLogits`; forward calls :meth:`_note`.

    The maxima are no part of the state: they live from the forward passes of a step to its end. Recomputed
    activations record the same again; ``torch.compile`` then breaks its graph at every block that records.
    """

    recording = False
    _maxima: Tensor | None = None

    def record_logits(self, enabled: bool) -> None:
        """Begin or end to record the largest logit of every head in forward passes of training."""
        self.recording = enabled
        self._maxima = None

    def take_max_logits(self) -> Tensor | None:
        """Return the largest logit of every head ``(H,)`` since it was last taken, None if nothing was."""
        maxima, self._maxima = self._maxima, None
        return maxima

    def after_step(self, taken: bool) -> None:
        """Forget what was recorded for a step that was dropped, or that nobody asked about."""
        del taken
        self._maxima = None

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of parameters in which the logits are linear; nothing where they are not."""
        return ()

    def _note(self, largest: Callable[[], Tensor]) -> None:
        """If this pass is to be recorded, keep the larger of ``largest()`` ``(H,)`` and what was noted."""
        if not (self.recording and self.training and torch.is_grad_enabled()):
            return
        maxima = largest()
        self._maxima = maxima if self._maxima is None else torch.maximum(self._maxima, maxima)


def rows_of(
    name: str, projection: nn.Module, part: Part, heads: int, width: int, start: int = 0
) -> list[LogitRows]:
    """Return rows of a projection's weight and shift; none where it is not linear, as when it quantises."""
    if type(projection) is not nn.Linear:
        return []
    return [
        LogitRows(parameter=f"{name}.{own}", part=part, heads=heads, width=width, start=start)
        for own, _ in projection.named_parameters(recurse=False)
    ]
