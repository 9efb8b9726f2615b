"""The norm ``plugin_name``: every token is divided by its mean absolute value."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from ultra_blocks.norms.base import Norm, Place, like
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require


class PluginName(Norm):
    """Mean absolute value 1 over the width, then a gain.

    ``y = weight * x / (mean(|x|) + eps)`` over the last dimension. The mean is computed in at least fp32.
    Compared with a root mean square, no square of an activation can overflow, and outliers count for less.

    Args:
        hidden_size: width D.
        place: place of the norm in the model, which has no effect on this norm.
        eps: added to the mean.

    Shapes:
        x, y: ``(..., D)``.

    Raises:
        ValueError: an option is out of range.

    Reference: Hoffer, Banner, Golan, Soudry 2018, "Norm matters: efficient and accurate normalization schemes
        in deep networks", arXiv:1803.01814.
    Differs from the paper: it normalises tokens instead of batches, subtracts no mean, and has no constant
        for the ratio of the two norms, which the gain learns.
    """

    reference: ClassVar = "plugin_name.reference:mean_absolute"

    def __init__(
        self,
        hidden_size: int,
        *,
        place: Place = "mixer",
        eps: Annotated[float, Range(gt=0)] = 1e-6,
    ) -> None:
        super().__init__(hidden_size, place=place)
        require(PluginName, eps=eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        size = wide.abs().mean(dim=-1, keepdim=True)
        return like(self.weight, x) * (wide / (size + self.eps)).to(x.dtype)
