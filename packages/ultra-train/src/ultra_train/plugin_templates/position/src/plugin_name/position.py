"""The position code ``plugin_name``: a learned bias of the scores that falls with the logarithm of distance."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from ultra_blocks.layout import Layout
from ultra_blocks.positions import Kind, PositionCode, real_positions
from ultra_core.contracts import ParamInfo, Range
from ultra_core.plugins.signatures import require


class PluginName(PositionCode):
    """Bias ``-strength_h log(1 + rate_h |p_i - p_j|)`` of the scores of head h, whose numbers are learned.

    It falls ever more slowly, so that far tokens stay visible, also in documents longer than those of the
    training.

    Args:
        num_heads: number of query heads H.
        strength: initial strength of every head; the initial rate is 1.

    Shapes:
        bias: ``(B, H, T, T)``, or ``(1, H, T, T)`` if all rows are equal.

    Raises:
        ValueError: an option is out of range.

    Reference: Chi, Fan, Ramadge, Rudnicky 2022, "KERPLE: Kernelized Relative Positional Embedding for Length
        Extrapolation", arXiv:2205.09921.
    Differs from the paper: strength and rate are exponentials of parameters, where the paper clips them; it is
        used in both directions.
    """

    kind: ClassVar[Kind] = "bias"
    symmetric: ClassVar[bool] = True
    reference: ClassVar = "plugin_name.reference:scores"

    def __init__(self, num_heads: int, *, strength: Annotated[float, Range(gt=0)] = 1.0) -> None:
        super().__init__()
        require(PluginName, num_heads=num_heads, strength=strength)
        if num_heads < 1:
            raise ValueError(f"PluginName: num_heads must be 1 or more; given {num_heads}")
        self.strength = strength
        self.log_strength = nn.Parameter(torch.empty(num_heads))
        self.log_rate = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial strength, and the rate 1."""
        nn.init.constant_(self.log_strength, math.log(self.strength))
        nn.init.zeros_(self.log_rate)

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe both parameters as vectors of the attention, without weight decay."""
        vector = ParamInfo(role="attention", kind="vector", decay=False)
        return {"log_strength": vector, "log_rate": vector}

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        """Return the bias, computed in at least fp32."""
        wide = torch.promote_types(dtype, torch.float32)
        strength, rate = (p.to(wide).exp()[:, None, None] for p in (self.log_strength, self.log_rate))
        positions = real_positions(layout)
        distance = (positions[:, None, :, None] - positions[:, None, None, :]).abs()
        return (-strength * torch.log1p(rate * distance)).to(dtype)
