"""Root-mean-square normalisation over the width."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.norms.base import Norm, Place, like
from ultra_blocks.traits import NormTraits
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require


class RMSNorm(Norm):
    """Root-mean-square normalisation: unit mean square over the width, then a gain.

    ``y = weight * x / sqrt(mean(x**2) + eps)`` over the last dimension. The mean is computed in at
    least fp32. There is no bias.

    Args:
        hidden_size: width D.
        place: place of the norm in the model, which has no effect on this norm.
        eps: added to the mean square.

    Shapes:
        x, y: ``(..., D)``.

    Paper: Zhang, Sennrich 2019, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    Differs from the paper: ``eps`` under the root, as in T5 and Llama.
    """

    traits: ClassVar[NormTraits] = NormTraits(scale_invariant=True, unit_rms=True)
    reference: ClassVar = "ultra_blocks.reference.norms:rms_norm"

    def __init__(
        self,
        hidden_size: int,
        *,
        place: Place = "mixer",
        eps: Annotated[float, Range(gt=0)] = 1e-6,
    ) -> None:
        super().__init__(hidden_size, place=place)
        require(RMSNorm, eps=eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        self.check(x)
        return F.rms_norm(x, (self.hidden_size,), like(self.weight, x), self.eps)
