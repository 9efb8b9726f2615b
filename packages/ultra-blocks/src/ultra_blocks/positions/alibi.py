"""Attention with linear biases (ALiBi)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions.base import PositionCode, real_positions
from ultra_core.plugins.signatures import require


class ALiBi(PositionCode):
    """Linear bias ``-s_h |p_i - p_j|`` of the scores, with a slope per head.

    If H is a power of two, the slopes are the geometric sequence ``s_h = 2**(-8h/H)``, h = 1..H. Otherwise
    they are those of the next lower power of two, followed by every other one of the next higher. Positions
    are those in the documents, not columns, so that padding has no effect.

    Args:
        num_heads: number of query heads H.

    Shapes:
        bias ``(B, H, T, T)``, or ``(1, H, T, T)`` if all rows are equal.

    Raises:
        ValueError: ``num_heads`` is below 1.

    Paper: Press, Smith, Lewis 2021, "Train Short, Test Long", arXiv:2108.12409.
    Differs from the paper: encoders use the same distance in both directions.
    """

    kind = "bias"
    symmetric = True
    reference: ClassVar = "ultra_blocks.reference.positions:alibi"

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1:
            raise ValueError(f"ALiBi: num_heads must be 1 or more; given {num_heads}")
        require(ALiBi, num_heads=num_heads)
        self.num_heads = num_heads

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        """Return the bias, shared by all layers through ``layout.memo``."""
        return layout.remember(("alibi", self.num_heads, dtype), lambda: self._bias(layout, dtype))

    def _bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        positions = real_positions(layout)
        wide = torch.promote_types(dtype, torch.float32)
        slopes = torch.tensor(slopes_of(self.num_heads), dtype=wide, device=positions.device)
        distance = (positions[:, None, :, None] - positions[:, None, None, :]).abs()
        return (distance * -slopes[:, None, None]).to(dtype)

    def extra_repr(self) -> str:
        """Return the options for ``print(model)``."""
        return f"{self.num_heads}"


def slopes_of(num_heads: int) -> list[float]:
    """Return the slope of each head, as in the authors' code."""
    below = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8 * h / below) for h in range(1, below + 1)]
    between = [2.0 ** (-4 * h / below) for h in range(1, 2 * below + 1, 2)]
    return slopes + between[: num_heads - below]
