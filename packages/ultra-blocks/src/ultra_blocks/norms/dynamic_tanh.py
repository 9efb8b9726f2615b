"""Dynamic tanh: a bounded element-wise map instead of a norm."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.norms.base import Norm, Place, like
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require

Slope = Annotated[float, Range(gt=0)]
Slopes = Slope | dict[Place, Slope] | None
"""Initial slopes: one for all places, or one for each of some places."""


def initial_alpha(place: Place, hidden_size: int, given: Slopes = None) -> float:
    """Return the initial slope: ``given``, or else 0.5, and ``0.5 * sqrt(D)`` after the embeddings.

    Embeddings start near 0.02, where a tanh of slope 0.5 would pass almost nothing. DyT's recipe for language
    models multiplies them by a learned scalar that starts at ``sqrt(D)``, which is part of the slope here.
    """
    chosen = given.get(place) if isinstance(given, dict) else given
    if chosen is not None:
        return chosen
    return 0.5 * math.sqrt(hidden_size) if place == "embedding" else 0.5


class DynamicTanh(Norm):
    """Dynamic tanh instead of a norm, applied to every element with one learned slope.

    ``y = weight * tanh(alpha * x) + bias`` with one scalar ``alpha`` for the whole layer. No statistics are
    computed, so that the output depends on the scale of ``x``. The tanh is computed in at least fp32.

    Args:
        hidden_size: width D.
        place: place of the norm in the model, on which the initial ``alpha`` depends.
        alpha_init: initial ``alpha``: one number for all places, or a mapping from some of ``mixer``,
            ``ffn``, ``final``, ``embedding`` and ``head`` to numbers. None, or a missing place: 0.5, and
            ``0.5 * sqrt(D)`` after the embeddings. Wide and deep models need smaller values before the FFN
            and at the end: for a width of 4096 the authors use ``{mixer: 0.8, ffn: 0.2, final: 0.2}``.

    Shapes:
        x, y: ``(..., D)``; alpha is ``(1,)``.

    Paper: Zhu, Chen, He, LeCun, Liu 2025, "Transformers without Normalization", arXiv:2503.10622.
    Differs from the paper: the scalar after the embeddings is part of their ``alpha``.
    """

    reference: ClassVar = "ultra_blocks.reference.norms:dynamic_tanh"

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
        """Set the gain to 1, the bias to 0 and the slope to ``alpha_init``."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.constant_(self.alpha, self.alpha_init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the tanh to every element."""
        self.check(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        squashed = torch.tanh(self.alpha.to(wide) * x.to(wide)).to(x.dtype)
        return torch.addcmul(like(self.bias, x), like(self.weight, x), squashed)
