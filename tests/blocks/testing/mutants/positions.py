"""Position codes that are not what they declare, or read something else than positions."""

from __future__ import annotations

from typing import Any

import torch
from blocks.testing.attention import Attention
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.positions import PositionCode
from ultra_blocks.positions.learned import Learned
from ultra_blocks.positions.rope import RoPE
from ultra_core.contracts import ParamInfo


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


class HasOnly64(Learned):
    """Positions beyond 63 share a row of the table."""

    def embed(self, layout: Layout) -> Tensor:
        return self.table(layout.positions.clamp(max=63))


class RotatesByColumnsOfLongRows(RoPE):
    """A fast path for long rows counts columns instead of positions."""

    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        return super().rotate(q, k, layout if q.shape[2] <= 64 else Layout.full(len(q), q.shape[2]))


class RefusesLongRows(RoPE):
    """The table has 256 rows, and a longer row is an error of indexing instead of a refusal."""

    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        torch.zeros(256)[layout.positions]
        return super().rotate(q, k, layout)


class ReadsTheFirstRow(RoPE):
    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        positions = layout.positions[:1].expand(len(q), -1)
        return super().rotate(q, k, Layout.from_mask(layout.mask, layout.documents, positions))


class CountsAcrossDocuments(Learned):
    def embed(self, layout: Layout) -> Tensor:
        return self.table((layout.mask.cumsum(1) - 1).clamp(min=0))


class KeepsItsFirstTable(RoPE):
    """The table of the longest row so far is kept, whatever its dtype."""

    kept: tuple[Tensor, Tensor] | None = None

    def _tables(self, layout: Layout, wide: torch.dtype) -> tuple[Tensor, Tensor]:
        length = layout.mask.shape[1]
        if not layout.indexed:
            return super()._tables(layout, wide)
        if self.kept is None or self.kept[0].shape[2] < length:
            self.kept = super()._tables(layout, wide)
        cos, sin = (table[:, :, :length].to(wide) for table in self.kept)
        return cos, sin


class CountsInHalfPrecision(PositionCode):
    kind = "bias"
    symmetric = True

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        positions = layout.positions.to(dtype)
        return -0.5 * (positions[:, :, None] - positions[:, None]).abs()[:, None].expand(-1, 2, -1, -1)


class RotatesInHalfPrecision(RoPE):
    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        rounded = layout.positions.to(q.dtype).long()
        return super().rotate(q, k, Layout.from_mask(layout.mask, layout.documents, rounded))


class StartsItsTableAgain(RoPE):
    """The part by which a table of 128 rows grows starts at position 0."""

    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        positions = layout.positions - 128 * (layout.positions >= 128)
        return super().rotate(q, k, Layout.from_mask(layout.mask, layout.documents, positions))


class EndsAt2048(RoPE):
    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        positions = layout.positions.clamp(max=2047)
        return super().rotate(q, k, Layout.from_mask(layout.mask, layout.documents, positions))


class RemembersItsSlopes(PositionCode):
    """A bias that depends on parameters is remembered, so that they get no gradient."""

    kind = "bias"
    symmetric = True

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.linspace(0.5, 1.0, num_heads))

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"slopes": ParamInfo(kind="vector", decay=False)}

    def bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        return layout.remember(("slopes", dtype), lambda: self._bias(layout).to(dtype))

    def _bias(self, layout: Layout) -> Tensor:
        distance = (layout.positions[:, :, None] - layout.positions[:, None]).abs()
        return -self.slopes[:, None, None] * distance[:, None]


class RoundsAngles(Attention):
    """Positions and angles have the dtype of the activations."""

    def angles_at(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        half = self.head_dim // 2
        rates = self.base ** -(torch.arange(half, dtype=torch.float64) / half)
        return places.to(dtype)[..., None] * rates.to(dtype)


MUTANTS: list[tuple[Any, ...]] = [
    ("P1", SaysRotate),
    ("P2", Absolute),
    ("P3", Absolute),
    ("P4", Columns),
    ("P5", HidesATable),
    ("P4b", HasOnly64),
    ("P4b", RefusesLongRows),
    ("P4c", KeepsItsFirstTable),
    ("P4d", CountsInHalfPrecision),
    ("P4d", RotatesInHalfPrecision),
    ("P4e", RotatesByColumnsOfLongRows),
    ("P4e", ReadsTheFirstRow),
    ("P4e", CountsAcrossDocuments),
    ("P4b", StartsItsTableAgain),
    ("P4b", EndsAt2048),
    ("P5", RemembersItsSlopes),
    ("B8c", RoundsAngles, {"causal": True}),
]
