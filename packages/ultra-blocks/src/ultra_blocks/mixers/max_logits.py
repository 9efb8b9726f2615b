"""Recording of the largest attention logits, for optimizers that bound them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ultra_core.contracts import LogitRows, Part


class MaxLogits(nn.Module):
    """Mixin of blocks that implement :class:`ultra_core.contracts.RecordsLogits`.

    ``forward`` calls :meth:`_record`. The maxima are not part of the state: they exist from the forward
    passes of a step to its end. Recomputed activations record the same values again. While a block records,
    ``torch.compile`` breaks its graph there.
    """

    recording = False
    _maxima: Tensor | None = None

    def record_logits(self, enabled: bool) -> None:
        """Start or stop recording the largest logit of every head in forward passes of training."""
        self.recording = enabled
        self._maxima = None

    def take_max_logits(self) -> Tensor | None:
        """Return the largest logit of every head ``(H,)`` since the last call; None if none was recorded."""
        maxima, self._maxima = self._maxima, None
        return maxima

    def after_step(self, taken: bool) -> None:
        """Discard the maxima of a step that was skipped, or whose maxima were not taken."""
        del taken
        self._maxima = None

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of parameters in which the logits are linear; none if they are not."""
        return ()

    def _record(self, largest: Callable[[], Tensor]) -> None:
        """Record the maxima ``largest()`` ``(H,)`` if this forward pass is to be recorded."""
        if not (self.recording and self.training and torch.is_grad_enabled()):
            return
        maxima = largest()
        self._maxima = maxima if self._maxima is None else torch.maximum(self._maxima, maxima)


def rows_of(
    name: str, projection: nn.Module, part: Part, heads: int, width: int, start: int = 0
) -> list[LogitRows]:
    """Return rows of the weight and bias of a projection; none if it is not linear, as with quantisation."""
    if type(projection) is not nn.Linear:
        return []
    return [
        LogitRows(parameter=f"{name}.{own}", part=part, heads=heads, width=width, start=start)
        for own, _ in projection.named_parameters(recurse=False)
    ]
