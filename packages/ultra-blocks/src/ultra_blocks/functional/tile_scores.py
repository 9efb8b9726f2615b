"""Attention scores by tiles: some query rows of some heads at a time, against all keys they may attend to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BUDGET = {"cpu": 2**20, "cuda": 2**26}
"""Scores of a tile: what fits into a last-level cache and feeds several cores, or keeps a GPU busy."""

MIN_ROWS = 256
"""Queries of a tile if there are as many; with fewer the matrix products become slow."""


class TileSpec(NamedTuple):
    """All arguments of tiled attention, in the order in which its operators take them: tensors first.

    Attributes:
        q: ``(B, H, T, d)``, scaled.
        k: ``(B, H, S, d)``.
        v: ``(B, H, S, e)``.
        documents: ``(B, T)``, only tokens with the same id attend to each other; None: all do.
        positions: ``(B, T)``, positions that the window compares.
        query_bias: ``(B, T)``, added to the scores of a query.
        bias: ``(B or 1, H or 1, T, S)``, added to the scores.
        decay_sums: cumulative log decays F ``(1, B, H, T)``, or F and G ``(2, B, H, T)``.
        seed: seed of dropout, a scalar on the CPU.
        lengths: ``(B,)``, end of the last real token of each row; later queries are skipped on a CPU.
        mask: bool ``(B, H or 1, T or 1, S)``, True where a query attends.
        causal: mask later keys.
        window: width of local attention; without ``positions`` there is none.
        softcap: bound of the scores; 0: none.
        normalised: softmax over the keys; False: sigmoid of each score.
        dropout: probability that an attention weight is dropped.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    documents: Tensor | None = None
    positions: Tensor | None = None
    query_bias: Tensor | None = None
    bias: Tensor | None = None
    decay_sums: Tensor | None = None
    seed: Tensor | None = None
    lengths: Tensor | None = None
    mask: Tensor | None = None
    causal: bool = False
    window: int = 0
    softcap: float = 0.0
    normalised: bool = True
    dropout: float = 0.0


TENSORS = TileSpec._fields.index("causal")
"""Number of tensors, which precede the other arguments."""


def operator_schema(returns: str, *before: str) -> str:
    """Return the schema of a torch operator that takes tensors ``before``, and then a TileSpec."""
    required = len(TileSpec._fields) - len(TileSpec._field_defaults)
    tensors = [("Tensor" if i < required else "Tensor?", name) for i, name in enumerate(TileSpec._fields)]
    options = [(type(TileSpec._field_defaults[name]).__name__, name) for name in TileSpec._fields[TENSORS:]]
    arguments = [("Tensor", name) for name in before] + tensors[:TENSORS] + options
    return f"({', '.join(f'{kind} {name}' for kind, name in arguments)}) -> {returns}"


class Tile(NamedTuple):
    """A range of queries, and the keys they may attend to.

    Attributes:
        batch: rows of the batch.
        heads: heads of each of these rows.
        flat: the same rows and heads, with both dimensions flattened.
        top: first query.
        bottom: end of the queries.
        end: end of the keys, which start at 0.
    """

    batch: slice
    heads: slice
    flat: slice
    top: int
    bottom: int
    end: int


class TileScores:
    """Iterates over the tiles of a TileSpec and computes their scores and attention weights."""

    def __init__(self, spec: TileSpec) -> None:
        self.spec = spec
        self.batch, self.heads, self.length, _ = spec.q.shape
        self.key_length = spec.k.shape[2]
        self.q, self.k, self.v = (x.flatten(0, 1) for x in (spec.q, spec.k, spec.v))
        self.wide = torch.promote_types(spec.q.dtype, torch.float32)
        # tiles of padding are skipped only on the CPU, where reading the lengths does not synchronise
        self.lengths = [self.length] * self.batch
        if spec.lengths is not None and spec.lengths.device.type == "cpu":
            self.lengths = spec.lengths.tolist()
        self.generator = None
        if spec.seed is not None:
            self.generator = torch.Generator(spec.q.device).manual_seed(int(spec.seed))

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles: some heads of one row of the batch, or all heads of some rows."""
        length, heads, key_length = self.length, self.heads, self.key_length
        if not length:
            return
        budget = BUDGET.get(self.q.device.type, BUDGET["cuda"])
        rows = min(length, max(MIN_ROWS, budget // key_length))
        together = max(1, budget // (rows * key_length))
        step = heads * max(1, together // heads) if together >= heads else _divisor(heads, together)
        for first in range(0, self.batch * heads, step):
            last = min(first + step, self.batch * heads)
            batch = slice(first // heads, -(-last // heads))
            some = slice(first % heads, first % heads + min(step, heads))
            longest = max(self.lengths[batch])
            for top in range(0, longest, rows):
                bottom = min(top + rows, longest)
                end = bottom if self.spec.causal else longest if key_length == length else key_length
                yield Tile(batch, some, slice(first, last), top, bottom, end)

    def weights(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """Return the weights ``(N, R, S)`` before dropout, and the derivative of the soft cap."""
        scores, slope = self.scores(tile)
        return scores.softmax(-1) if self.spec.normalised else scores.sigmoid_(), slope

    def scores(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(N, R, S)``, -inf at masked pairs, and the derivative of the soft cap."""
        spec = self.spec
        scores = torch.bmm(queries(tile, self.q), keys(tile, self.k).mT).to(self.wide)
        slope = None
        if spec.softcap:
            capped = scores.div_(spec.softcap).tanh_()
            slope = 1 - capped * capped
            scores = capped.mul_(spec.softcap)
        grid = by_head(tile, scores)
        if spec.query_bias is not None:
            grid.add_(spec.query_bias[tile.batch, None, tile.top : tile.bottom, None])
        if spec.bias is not None:
            batch = tile.batch if len(spec.bias) > 1 else slice(None)
            heads = tile.heads if spec.bias.shape[1] > 1 else slice(None)
            grid.add_(spec.bias[batch, heads, tile.top : tile.bottom, : tile.end])
        if spec.decay_sums is not None:
            self._add_decays(tile, grid, spec.decay_sums)
        self._mask(tile, grid)
        return scores, slope

    def _add_decays(self, tile: Tile, grid: Tensor, decay_sums: Tensor) -> None:
        top, bottom = tile.top, tile.bottom
        some = decay_sums[:, tile.batch, tile.heads]
        f, g = some[0], some[-1]
        # sums are subtracted before they are rounded, so that nearby tokens keep their precision
        block = f[..., top:bottom, None] - f[..., None, top:bottom]
        if not self.spec.causal:
            forward = g[..., None, top:bottom] - g[..., top:bottom, None]
            block = torch.where(above_diagonal(block), forward, block)
            here = (g[..., top:bottom] - g[..., bottom - 1 : bottom]).to(self.wide)
            after = (g[..., bottom : tile.end] - g[..., bottom - 1 : bottom]).to(self.wide)
            grid[..., bottom:].add_(after[..., None, :] - here[..., None])
        grid[..., top:bottom].add_(block.to(self.wide))
        here = (f[..., top:bottom] - f[..., top : top + 1]).to(self.wide)
        before = (f[..., :top] - f[..., top : top + 1]).to(self.wide)
        grid[..., :top].add_(here[..., None] - before[..., None, :])

    def _mask(self, tile: Tile, grid: Tensor) -> None:
        spec = self.spec
        if spec.mask is not None:
            heads = tile.heads if spec.mask.shape[1] > 1 else slice(None)
            rows = slice(tile.top, tile.bottom) if spec.mask.shape[2] > 1 else slice(None)
            grid.masked_fill_(~spec.mask[tile.batch, heads, rows], float("-inf"))
        if spec.documents is not None:
            some = spec.documents[tile.batch, None]
            hidden = some[..., tile.top : tile.bottom, None] != some[..., None, : tile.end]
            if spec.positions is not None:
                some = spec.positions[tile.batch, None]
                distance = some[..., tile.top : tile.bottom, None] - some[..., None, : tile.end]
                hidden |= distance > spec.window if spec.causal else distance.abs() > spec.window // 2
            grid.masked_fill_(hidden, float("-inf"))
        if spec.causal:
            block = grid[..., tile.top :]
            block.masked_fill_(above_diagonal(block), float("-inf"))

    def dropout_factors(self, weights: Tensor) -> Tensor | None:
        """Return the factors of dropout, None without dropout; equal for equal tiles in the same order."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.spec.dropout, generator=self.generator)
        return kept.div_(1 - self.spec.dropout)


def _divisor(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``limit``."""
    return max(n for n in range(1, limit + 1) if number % n == 0)


def queries(tile: Tile, x: Tensor) -> Tensor:
    """Return the rows of ``(B H, T, ...)`` that belong to the queries of a tile."""
    return x[tile.flat, tile.top : tile.bottom]


def keys(tile: Tile, x: Tensor) -> Tensor:
    """Return the rows of ``(B H, S, ...)`` that belong to the keys of a tile."""
    return x[tile.flat, : tile.end]


def by_head(tile: Tile, scores: Tensor) -> Tensor:
    """Return a view of ``(N, R, S)`` with separate dimensions for rows of the batch and heads."""
    return scores.view(tile.batch.stop - tile.batch.start, -1, *scores.shape[1:])


def above_diagonal(block: Tensor) -> Tensor:
    """Return the mask of later keys in a square tile ``(..., R, R)`` on the diagonal."""
    return torch.ones(block.shape[-2:], dtype=torch.bool, device=block.device).triu_(1)
