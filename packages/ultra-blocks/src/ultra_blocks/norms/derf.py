"""Derf: a shifted error function instead of a norm."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.norms.base import Norm, Place, like
from ultra_blocks.norms.dynamic_tanh import Slopes, initial_alpha
from ultra_core.plugins.signatures import require


class Derf(Norm):
    """Shifted error function instead of a norm, applied to every element with one learned slope.

    ``y = weight * erf(alpha * x + shift) + bias`` with learned scalars ``alpha`` and ``shift``. No statistics
    are computed, so that the output depends on the scale of ``x``. The erf is computed in at least fp32.

    Args:
        hidden_size: width D.
        place: place of the norm in the model, on which the initial ``alpha`` depends.
        alpha_init: initial ``alpha``: one number for all places, or a mapping from some of ``mixer``,
            ``ffn``, ``final``, ``embedding`` and ``head`` to numbers. None, or a missing place: 0.5, and
            ``0.5 * sqrt(D)`` after the embeddings.
        shift_init: initial ``shift``.

    Shapes:
        x, y: ``(..., D)``; alpha and shift are ``(1,)``.

    Paper: Chen et al. 2025, "Stronger Normalization-Free Transformers", arXiv:2512.10938.
    Differs from the paper: the initial ``alpha`` is larger after the embeddings, see
    :func:`~ultra_blocks.norms.dynamic_tanh.initial_alpha`.
    """

    reference: ClassVar = "ultra_blocks.reference.norms:derf"

    def __init__(
        self,
        hidden_size: int,
        *,
        place: Place = "mixer",
        alpha_init: Slopes = None,
        shift_init: float = 0.0,
    ) -> None:
        super().__init__(hidden_size, place=place)
        require(Derf, alpha_init=alpha_init)
        self.alpha_init = initial_alpha(place, hidden_size, alpha_init)
        self.shift_init = shift_init
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.alpha = nn.Parameter(torch.empty(1))
        self.shift = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to 1, the bias to 0, the slope to ``alpha_init`` and the shift to ``shift_init``."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.constant_(self.alpha, self.alpha_init)
        nn.init.constant_(self.shift, self.shift_init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the error function to every element."""
        self.check(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        inner = torch.addcmul(self.shift.to(wide), self.alpha.to(wide), x.to(wide))
        return torch.addcmul(like(self.bias, x), like(self.weight, x), torch.erf(inner).to(x.dtype))
