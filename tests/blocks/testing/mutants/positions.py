"""Position codes that are not what they declare, or read something else than positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions import PositionCode


class Absolute(PositionCode):
    kind = "bias"
    symmetric = True

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        return (layout.positions[:, None, None] * 1e-3).to(dtype).expand(-1, 2, layout.mask.shape[1], -1)


class Columns(PositionCode):
    kind = "bias"

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        columns = torch.arange(layout.mask.shape[1], dtype=dtype)
        return (columns[:, None] - columns).abs()[None, None]


class SaysRotate(PositionCode):
    kind = "rotate"


class HidesATable(Columns):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.ones(1), persistent=False)


MUTANTS: list[tuple[Any, ...]] = [
    ("P1", SaysRotate),
    ("P2", Absolute),
    ("P3", Absolute),
    ("P4", Columns),
    ("P5", HidesATable),
]
