"""Tiles of attention weights: some query rows of some heads at a time, against all keys they may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BUDGET = {"cpu": 2**20, "cuda": 2**26}
"""Scores held at a time: what a last-level cache takes and several cores share, what keeps an accelerator
busy."""

ROWS = 256
"""Queries of a tile at least, where there are as many; fewer make the matrix products slow."""


class Tile(NamedTuple):
    """Queries from ``top`` to ``bottom`` and keys before ``end``; ``flat`` counts batch rows and heads."""

    batch: slice
    heads: slice
    flat: slice
    top: int
    bottom: int
    end: int


class Problem:
    """The tensors of one call, heads and batch rows flattened, and how a tile of weights is made of them."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        documents: Tensor | None,
        positions: Tensor | None,
        shift: Tensor | None,
        bias: Tensor | None,
        decays: Tensor | None,
        seed: Tensor | None,
        lengths: Tensor | None,
        seen: Tensor | None,
        causal: bool,
        window: int,
        softcap: float,
        normalised: bool,
        dropout: float,
    ) -> None:
        self.batch, self.heads, self.length, _ = q.shape
        self.reach = k.shape[2]
        self.q, self.k, self.v = (x.flatten(0, 1) for x in (q, k, v))
        self.wide = torch.promote_types(q.dtype, torch.float32)
        self.documents, self.positions, self.shift = documents, positions, shift
        self.bias, self.decays, self.seen = bias, decays, seen
        self.causal, self.window, self.softcap = causal, window, softcap
        self.normalised, self.dropout = normalised, dropout
        # a device need not be asked: only where looking costs nothing are tiles of padding left out
        self.lengths = [self.length] * self.batch
        if lengths is not None and lengths.device.type == "cpu":
            self.lengths = lengths.tolist()
        self.generator = None
        if seed is not None:
            self.generator = torch.Generator(q.device).manual_seed(int(seed))

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles: some heads of one batch row, or all heads of some."""
        length, heads, reach = self.length, self.heads, self.reach
        if not length:
            return
        budget = BUDGET.get(self.q.device.type, BUDGET["cuda"])
        rows = min(length, max(ROWS, budget // reach))
        together = max(1, budget // (rows * reach))
        step = heads * max(1, together // heads) if together >= heads else _divisor(heads, together)
        for first in range(0, self.batch * heads, step):
            last = min(first + step, self.batch * heads)
            batch = slice(first // heads, -(-last // heads))
            some = slice(first % heads, first % heads + min(step, heads))
            longest = max(self.lengths[batch])
            for top in range(0, longest, rows):
                bottom = min(top + rows, longest)
                end = bottom if self.causal else longest if reach == length else reach
                yield Tile(batch, some, slice(first, last), top, bottom, end)

    def weights(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """Return the weights ``(N, R, S)`` before dropout, and the slope of the cap."""
        scores, slope = self.scores(tile)
        return scores.softmax(-1) if self.normalised else scores.sigmoid_(), slope

    def scores(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(N, R, S)``, -inf where a pair is hidden, and the slope of the cap."""
        scores = torch.bmm(queries(tile, self.q), keys(tile, self.k).mT).to(self.wide)
        slope = None
        if self.softcap:
            capped = scores.div_(self.softcap).tanh_()
            slope = 1 - capped * capped
            scores = capped.mul_(self.softcap)
        grid = grid_of(tile, scores)
        if self.shift is not None:
            grid.add_(self.shift[tile.batch, None, tile.top : tile.bottom, None])
        if self.bias is not None:
            batch = tile.batch if len(self.bias) > 1 else slice(None)
            heads = tile.heads if self.bias.shape[1] > 1 else slice(None)
            grid.add_(self.bias[batch, heads, tile.top : tile.bottom, : tile.end])
        if self.decays is not None:
            self._fade(tile, grid)
        self._hide(tile, grid)
        return scores, slope

    def _fade(self, tile: Tile, grid: Tensor) -> None:
        assert self.decays is not None
        top, bottom = tile.top, tile.bottom
        some = self.decays[:, tile.batch, tile.heads]
        f, g = some[0], some[-1]
        # sums are subtracted before they are rounded: what is near must not feel how large they have become
        block = f[..., top:bottom, None] - f[..., None, top:bottom]
        if not self.causal:
            forward = g[..., None, top:bottom] - g[..., top:bottom, None]
            block = torch.where(ahead(block), forward, block)
            here = (g[..., top:bottom] - g[..., bottom - 1 : bottom]).to(self.wide)
            after = (g[..., bottom : tile.end] - g[..., bottom - 1 : bottom]).to(self.wide)
            grid[..., bottom:].add_(after[..., None, :] - here[..., None])
        grid[..., top:bottom].add_(block.to(self.wide))
        here = (f[..., top:bottom] - f[..., top : top + 1]).to(self.wide)
        before = (f[..., :top] - f[..., top : top + 1]).to(self.wide)
        grid[..., :top].add_(here[..., None] - before[..., None, :])

    def _hide(self, tile: Tile, grid: Tensor) -> None:
        if self.seen is not None:
            heads = tile.heads if self.seen.shape[1] > 1 else slice(None)
            rows = slice(tile.top, tile.bottom) if self.seen.shape[2] > 1 else slice(None)
            grid.masked_fill_(~self.seen[tile.batch, heads, rows], float("-inf"))
        if self.documents is not None:
            some = self.documents[tile.batch, None]
            hidden = some[..., tile.top : tile.bottom, None] != some[..., None, : tile.end]
            if self.positions is not None:
                some = self.positions[tile.batch, None]
                distance = some[..., tile.top : tile.bottom, None] - some[..., None, : tile.end]
                hidden |= distance > self.window if self.causal else distance.abs() > self.window // 2
            grid.masked_fill_(hidden, float("-inf"))
        if self.causal:
            block = grid[..., tile.top :]
            block.masked_fill_(ahead(block), float("-inf"))

    def dropped(self, weights: Tensor) -> Tensor | None:
        """Return what dropout multiplies the weights with; the same again for the same tile in order."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=self.generator)
        return kept.div_(1 - self.dropout)


def _divisor(of: int, most: int) -> int:
    """Return the largest divisor that is not above ``most``."""
    return max(n for n in range(1, most + 1) if of % n == 0)


def queries(tile: Tile, x: Tensor) -> Tensor:
    """Return the queries of a tile, or what is as long."""
    return x[tile.flat, tile.top : tile.bottom]


def keys(tile: Tile, x: Tensor) -> Tensor:
    """Return the keys of a tile, or what is as long."""
    return x[tile.flat, : tile.end]


def grid_of(tile: Tile, scores: Tensor) -> Tensor:
    """Return a view of ``(N, R, S)`` in which batch rows and heads stand apart."""
    return scores.view(tile.batch.stop - tile.batch.start, -1, *scores.shape[1:])


def ahead(block: Tensor) -> Tensor:
    """Return where a square tile on the diagonal ``(..., R, R)`` looks at later tokens."""
    return torch.ones(block.shape[-2:], dtype=torch.bool, device=block.device).triu_(1)
