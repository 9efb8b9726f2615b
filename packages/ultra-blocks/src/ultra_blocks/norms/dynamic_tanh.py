"""Dynamic tanh: a bounded element-wise map in place of a norm."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from ultra_blocks.norms.base import Norm, Place, like
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require

Slope = Annotated[float, Range(gt=0)]
Slopes = Slope | dict[Place, Slope] | None
"""Where slopes start: one for all places, or one for each of some places."""


def initial_alpha(place: Place, hidden_size: int, given: Slopes = None) -> float:
    """Return the slope to start from: that ``given``, else 0.5, and ``0.5 * sqrt(D)`` after the embeddings.

    Embeddings start near 0.02, where a tanh of slope 0.5 would hand on next to nothing; DyT's recipe for
    language models multiplies them by a learnt scalar that starts at ``sqrt(D)``, folded into the slope here.
    """
    chosen = given.get(place) if isinstance(given, dict) else given
    if chosen is not None:
        return chosen
    return 0.5 * math.sqrt(hidden_size) if place == "embedding" else 0.5


class DynamicTanh(Norm):
    """Dynamic tanh in place of a norm: every element squashed with one learnt slope.

    ``y = weight * tanh(alpha * x) + bias`` with one scalar ``alpha`` for the whole layer. No statistics are
    taken, so that the output depends on the scale of ``x``; the tanh is at least fp32.

    Args:
        hidden_size: width D.
        place: where the norm stands; sets where ``alpha`` starts.
        alpha_init: where ``alpha`` starts, one number for all places or one for each of some of ``mixer``,
            ``ffn``, ``final``, ``embedding``, ``head``. None, and places left out: 0.5 before mixers and
            FFNs, at the end and in the head; ``0.5 * sqrt(D)`` after the embeddings. Wide, deep models want
            less before the FFN and at the end: at a width of 4096 the authors take
            ``{mixer: 0.8, ffn: 0.2, final: 0.2}``.

    Shapes:
        x, y: ``(..., D)``; alpha is ``(1,)``.

    Paper: Zhu, Chen, He, LeCun, Liu 2025, "Transformers without Normalization", arXiv:2503.10622.
    Differs from the paper: the scalar after the embeddings is part of ``alpha`` there.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        place: Place = "mixer",
        alpha_init: Slopes = None,
    ) -> None:
        super().__init__(hidden_size, place=place)
        require(DynamicTanh, alpha_init=alpha_init)
        self.alpha_init = initial_alpha(place, hidden_size, alpha_init)
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.alpha = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to 1, the shift to 0 and the slope to ``alpha_init``."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.constant_(self.alpha, self.alpha_init)

    def forward(self, x: Tensor) -> Tensor:
        """Squash every element."""
        wide = torch.promote_types(x.dtype, torch.float32)
        squashed = torch.tanh(self.alpha.to(wide) * x.to(wide)).to(x.dtype)
        return torch.addcmul(like(self.bias, x), like(self.weight, x), squashed)
