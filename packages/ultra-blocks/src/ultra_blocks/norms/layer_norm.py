"""Layer normalisation over the width."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.norms.base import Norm, Place, like
from ultra_blocks.traits import NormTraits
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require


class LayerNorm(Norm):
    """Layer normalisation: zero mean and unit variance over the width, then gain and bias.

    ``y = weight * (x - mean) / sqrt(var + eps) + bias`` over the last dimension, ``var`` biased. Statistics
    are computed in at least fp32.

    Args:
        hidden_size: width D.
        place: place of the norm in the model, which has no effect on this norm.
        eps: added to the variance (1e-12 in BERT).
        bias: whether there is a bias.

    Shapes:
        x, y: ``(..., D)``.

    Paper: Ba, Kiros, Hinton 2016, "Layer Normalization", arXiv:1607.06450.
    Differs from the paper: nothing.
    """

    traits: ClassVar[NormTraits] = NormTraits(
        scale_invariant=True, shift_invariant=True, zero_mean=True, unit_rms=True
    )
    reference: ClassVar = "ultra_blocks.reference.norms:layer_norm"

    def __init__(
        self,
        hidden_size: int,
        *,
        place: Place = "mixer",
        eps: Annotated[float, Range(gt=0)] = 1e-5,
        bias: bool = True,
    ) -> None:
        super().__init__(hidden_size, place=place)
        require(LayerNorm, eps=eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to 1 and the bias to 0."""
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        self.check(x)
        bias = None if self.bias is None else like(self.bias, x)
        return F.layer_norm(x, (self.hidden_size,), like(self.weight, x), bias, self.eps)
