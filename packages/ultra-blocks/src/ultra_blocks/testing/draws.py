"""Hypothesis strategies for batches: shapes are drawn, and numbers are computed from a drawn seed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from ultra_blocks.layout import Layout
from ultra_blocks.traits import Traits


class Row(NamedTuple):
    """The description of a row without padding: its length, and the seed of its tokens."""

    length: int
    seed: int

    def __str__(self) -> str:
        return f"T = {self.length}, seed {self.seed}"


Padding = Literal["none", "left", "right", "inside"]

FILLS = (float("nan"), float("inf"), -1e4, 1.0)
"""Values of the input at padding; 1.0 means ordinary random numbers."""


@attrs.frozen
class Batch:
    """The description of a batch: document lengths of each row, the place of the padding, and the seed."""

    rows: tuple[tuple[int, ...], ...]
    padding: Padding
    extra: int
    seed: int
    dtype: torch.dtype
    fill: float = float("nan")

    def __str__(self) -> str:
        rows = ", ".join(_lengths(row) for row in self.rows)
        padding = "no padding" if self.padding == "none" else f"padding {self.padding} ({_fill(self.fill)})"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"rows {rows}; {padding}; T = {self.width}, {dtype}, seed {self.seed}"

    def fitted(self, traits: Traits) -> Batch:
        """Return the batch as a block with these traits accepts it: one document a row, not too long."""
        rows = self.rows if traits.packing else tuple((sum(row),) if row else () for row in self.rows)
        extra = self.extra
        if traits.longest is not None:
            extra = min(extra, max(traits.longest - 1, 0))
            longest = traits.longest - extra
            rows = tuple((min(sum(row), longest),) if sum(row) > longest else row for row in rows)
        return attrs.evolve(self, rows=rows, extra=extra)

    @property
    def width(self) -> int:
        """Number of columns T: that of the longest row, plus the extra padding if there is padding."""
        return max(1, max(sum(row) for row in self.rows) + (0 if self.padding == "none" else self.extra))

    def generator(self, salt: int = 0) -> torch.Generator:
        """Return a random generator that depends only on the seed and ``salt``."""
        return torch.Generator().manual_seed(1000 * self.seed + salt)

    def layout(self) -> Layout:
        """Return the layout of the batch."""
        mask = torch.zeros(len(self.rows), self.width, dtype=torch.bool)
        documents = torch.zeros(mask.shape, dtype=torch.long)
        g = self.generator(1)
        for b, row in enumerate(self.rows):
            free = self.width - sum(row)
            if self.padding == "inside":
                columns = torch.randperm(self.width, generator=g)[: sum(row)].sort().values
            else:
                columns = torch.arange(sum(row)) + (free if self.padding == "left" else 0)
            mask[b, columns] = True
            documents[b, columns] = torch.arange(len(row)).repeat_interleave(
                torch.tensor(row, dtype=torch.long)
            )
        return Layout.from_mask(mask, documents)

    def tokens(self, hidden_size: int) -> list[Tensor]:
        """Return the real tokens ``(n, D)`` of each document, in reading order."""
        g = self.generator(2)
        drawn = [torch.randn(n, hidden_size, generator=g) for row in self.rows for n in row]
        return [x.to(self.dtype).requires_grad_() for x in drawn]

    def place(
        self, tokens: list[Tensor], layout: Layout, hidden_size: int, fill: float | None = None
    ) -> Tensor:
        """Return the input ``(B, T, D)``: the tokens at real places, and ``fill`` times noise at padding."""
        noise = torch.randn(*layout.mask.shape, hidden_size, generator=self.generator(3))
        x = (noise * (self.fill if fill is None else fill)).to(self.dtype)
        if tokens:
            x[layout.mask] = torch.cat(tokens)
        return x


def _lengths(row: tuple[int, ...]) -> str:
    """Return the lengths of the documents of a row, as in ``3+5``."""
    return "+".join(str(n) for n in row) if row else "empty"


def _fill(fill: float) -> str:
    return "random numbers" if fill == 1.0 else f"random numbers times {fill:g}" if fill == fill else "NaN"


def batches(
    *,
    rows: tuple[int, int] = (1, 3),
    documents: tuple[int, int] = (1, 1),
    paddings: tuple[Padding, ...] = ("left", "right", "inside"),
    dtypes: tuple[torch.dtype, ...] = (torch.float64,),
    longest: int = 19,
) -> st.SearchStrategy[Batch]:
    """Return a strategy for batches; ``rows`` and ``documents`` (per row) are minimum and maximum.

    A row without documents is all padding.
    """
    lengths = st.integers(1, longest)
    row = st.lists(lengths, min_size=documents[0], max_size=documents[1]).map(tuple)
    return st.builds(
        Batch,
        rows=st.lists(row, min_size=rows[0], max_size=rows[1]).map(tuple),
        padding=st.sampled_from(paddings),
        extra=st.integers(1, 9),
        seed=st.integers(0, 999),
        dtype=st.sampled_from(dtypes),
        fill=st.sampled_from(FILLS),
    )


def relative_error(got: Tensor, wanted: Tensor, scale: Tensor | None = None) -> float:
    """Return ``max |got - wanted| / max |wanted|``; infinity if ``got`` has NaN."""
    if not wanted.numel():
        return 0.0
    largest = (wanted if scale is None else scale).detach().abs().max().double()
    error = (got.detach().double() - wanted.detach().double()).abs().max() / (largest + 1e-30)
    return float(torch.nan_to_num(error, nan=float("inf")))
