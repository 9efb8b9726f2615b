"""Attention by tiles of query rows: what no fused kernel offers, in memory linear in the length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ultra_blocks.layout import Layout

BUDGET = {"cpu": 2**17, "cuda": 2**26}
"""Scores held at a time: what a core's cache takes, what keeps an accelerator busy."""

ROWS = 256
"""Queries of a tile at least, where there are as many; fewer make the matrix products slow."""


def tiled_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    window: int | None = None,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    decays: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``y_i = sum_j a(s_ij) v_j`` over the keys that query i may see.

    ::

        s_ij = cap(q_i k_j / sqrt(d)) + shift_i + bias_ij + decay_ij,    cap(s) = softcap tanh(s / softcap)
        decay_ij = F_i - F_j  for j <= i,    G_j - G_i  for j > i

    with a the softmax over j, or the sigmoid. The scores of some rows at a time are computed, used, thrown
    away, and computed again in the backward pass. Statistics are at least fp32.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, T, d)``.
        v: ``(B, H, T, e)``.
        layout: who is real, and who belongs together.
        causal: hide what comes later.
        window: see :meth:`Layout.attention_mask`.
        shift: ``(B, T)``, without gradient.
        bias: ``(B or 1, H or 1, T, T)``, without gradient.
        decays: F alone ``(1, B, H, T)`` or F and G ``(2, B, H, T)``, best fp64; G = F where it is alone.
        softcap: None: no cap.
        normalised: softmax; False: sigmoid.
        dropout: probability that a weight is dropped.

    Shapes:
        returns ``(B, H, T, e)``; what stands at padding queries is of no use, but finite.

    Raises:
        ValueError: ``shift`` or ``bias`` wants a gradient.
    """
    if any(x is not None and x.requires_grad for x in (shift, bias)):
        raise ValueError("tiled_attention: shift and bias get no gradient; use explicit_attention for that")
    seed = torch.randint(2**62, ()) if dropout else None
    documents: Tensor | None = layout.documents
    if window is None and (layout.dense or (causal and layout.indexed)):
        documents = None  # padding on the right is in the future of every real query
    elif not (normalised or layout.packed or window is not None):
        # a key without value adds nothing, and a score that moves nothing has no gradient: no mask needed
        v, documents = layout.zero_padding(v.transpose(1, 2)).transpose(1, 2), None
    return _attend(
        q * q.shape[-1] ** -0.5,
        k,
        v,
        documents,
        None if window is None else layout.positions,
        shift,
        bias,
        decays,
        seed,
        causal,
        window or 0,
        softcap or 0.0,
        normalised,
        dropout,
    )


def added_scores(shift: Tensor | None = None, decays: Tensor | None = None) -> Tensor | None:
    """Return what :func:`tiled_attention` adds for these, as ``(B, H or 1, T, T or 1)``."""
    if decays is None:
        return None if shift is None else shift[:, None, :, None]
    f, g = decays[0], decays[-1]
    behind = f[..., :, None] - f[..., None, :]
    added = torch.where(_ahead(behind), g[..., None, :] - g[..., :, None], behind)
    return added if shift is None else added + shift[:, None, :, None]


class _Tile(NamedTuple):
    """Queries ``rows``, and the keys before ``end``, of some batch rows and heads, ``flat`` counting both."""

    batch: slice
    heads: slice
    flat: slice
    top: int
    bottom: int
    end: int


class _Problem:
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
        causal: bool,
        window: int,
        softcap: float,
        normalised: bool,
        dropout: float,
    ) -> None:
        self.batch, self.heads, self.length, _ = q.shape
        self.q, self.k, self.v = (x.reshape(-1, self.length, x.shape[-1]) for x in (q, k, v))
        self.wide = torch.promote_types(q.dtype, torch.float32)
        self.documents, self.positions, self.shift = documents, positions, shift
        self.bias, self.decays = bias, decays
        self.causal, self.window, self.softcap = causal, window, softcap
        self.normalised, self.dropout = normalised, dropout
        self.generator = None
        if seed is not None:
            self.generator = torch.Generator(q.device).manual_seed(int(seed))

    def tiles(self) -> Iterator[_Tile]:
        """Yield the tiles: some heads of one batch row, or all heads of some."""
        length, heads = self.length, self.heads
        budget = BUDGET.get(self.q.device.type, BUDGET["cuda"])
        rows = min(length, max(ROWS, budget // length))
        together = max(1, budget // (rows * length))
        step = heads * max(1, together // heads) if together >= heads else _divisor(heads, together)
        for first in range(0, self.batch * heads, step):
            last = min(first + step, self.batch * heads)
            batch = slice(first // heads, -(-last // heads))
            some = slice(first % heads, first % heads + min(step, heads))
            for top in range(0, length, rows):
                bottom = min(top + rows, length)
                yield _Tile(batch, some, slice(first, last), top, bottom, bottom if self.causal else length)

    def weights(self, tile: _Tile) -> tuple[Tensor, Tensor | None]:
        """Return the weights ``(N, R, S)`` before dropout, and the slope of the cap."""
        scores = torch.bmm(_queries(tile, self.q), _keys(tile, self.k).mT).to(self.wide)
        slope = None
        if self.softcap:
            capped = scores.div_(self.softcap).tanh_()
            slope = 1 - capped * capped
            scores = capped.mul_(self.softcap)
        grid = _grid(tile, scores)
        if self.shift is not None:
            grid.add_(self.shift[tile.batch, None, tile.top : tile.bottom, None])
        if self.bias is not None:
            batch = tile.batch if len(self.bias) > 1 else slice(None)
            heads = tile.heads if self.bias.shape[1] > 1 else slice(None)
            grid.add_(self.bias[batch, heads, tile.top : tile.bottom, : tile.end])
        if self.decays is not None:
            self._fade(tile, grid)
        self._hide(tile, grid)
        return scores.softmax(-1) if self.normalised else scores.sigmoid_(), slope

    def _fade(self, tile: _Tile, grid: Tensor) -> None:
        assert self.decays is not None
        top, bottom = tile.top, tile.bottom
        some = self.decays[:, tile.batch, tile.heads]
        f, g = some[0], some[-1]
        # sums are subtracted before they are rounded: what is near must not feel how large they have become
        block = f[..., top:bottom, None] - f[..., None, top:bottom]
        if not self.causal:
            ahead = g[..., None, top:bottom] - g[..., top:bottom, None]
            block = torch.where(_ahead(block), ahead, block)
            here = (g[..., top:bottom] - g[..., bottom - 1 : bottom]).to(self.wide)
            after = (g[..., bottom:] - g[..., bottom - 1 : bottom]).to(self.wide)
            grid[..., bottom:].add_(after[..., None, :] - here[..., None])
        grid[..., top:bottom].add_(block.to(self.wide))
        here = (f[..., top:bottom] - f[..., top : top + 1]).to(self.wide)
        before = (f[..., :top] - f[..., top : top + 1]).to(self.wide)
        grid[..., :top].add_(here[..., None] - before[..., None, :])

    def _hide(self, tile: _Tile, grid: Tensor) -> None:
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
            block.masked_fill_(_ahead(block), float("-inf"))

    def dropped(self, weights: Tensor) -> Tensor | None:
        """Return what dropout multiplies the weights with; the same again for the same tile in order."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=self.generator)
        return kept.div_(1 - self.dropout)


def _divisor(of: int, most: int) -> int:
    """Return the largest divisor that is not above ``most``."""
    return max(n for n in range(1, most + 1) if of % n == 0)


def _queries(tile: _Tile, x: Tensor) -> Tensor:
    """Return the queries of a tile, or what is as long."""
    return x[tile.flat, tile.top : tile.bottom]


def _keys(tile: _Tile, x: Tensor) -> Tensor:
    """Return the keys of a tile, or what is as long."""
    return x[tile.flat, : tile.end]


def _grid(tile: _Tile, scores: Tensor) -> Tensor:
    """Return a view of ``(N, R, S)`` in which batch rows and heads stand apart."""
    return scores.view(tile.batch.stop - tile.batch.start, -1, *scores.shape[1:])


def _ahead(block: Tensor) -> Tensor:
    return torch.ones(block.shape[-2:], dtype=torch.bool, device=block.device).triu_(1)


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a b``; sums of half-precision products are kept in more."""
    if into.dtype is a.dtype:
        into.baddbmm_(a, b)
    else:
        into.add_(torch.bmm(a, b))


@torch.library.custom_op("ultra::tiled_attention", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    documents: Tensor | None,
    positions: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
    decays: Tensor | None,
    seed: Tensor | None,
    causal: bool,
    window: int,
    softcap: float,
    normalised: bool,
    dropout: float,
) -> Tensor:
    problem = _Problem(
        q, k, v, documents, positions, shift, bias, decays, seed, causal, window, softcap, normalised, dropout
    )
    y = torch.empty_like(problem.v)
    for tile in problem.tiles():
        weights, _ = problem.weights(tile)
        if (kept := problem.dropped(weights)) is not None:
            weights = weights.mul_(kept)
        _queries(tile, y).copy_(torch.bmm(weights.to(v.dtype), _keys(tile, problem.v)))
    return y.view(v.shape)


@torch.library.custom_op("ultra::tiled_attention_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    documents: Tensor | None,
    positions: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
    decays: Tensor | None,
    seed: Tensor | None,
    causal: bool,
    window: int,
    softcap: float,
    normalised: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    problem = _Problem(
        q, k, v, documents, positions, shift, bias, decays, seed, causal, window, softcap, normalised, dropout
    )
    grad = grad.reshape(problem.v.shape)
    dq = torch.empty_like(problem.q)
    dk, dv = (torch.zeros_like(x, dtype=problem.wide) for x in (problem.k, problem.v))
    faded = torch.zeros_like(decays) if decays is not None else q.new_zeros(0)
    for tile in problem.tiles():
        weights, slope = problem.weights(tile)
        kept = problem.dropped(weights)
        above = _queries(tile, grad)
        read = weights if kept is None else weights * kept
        _add_product(_keys(tile, dv), read.to(v.dtype).mT, above)
        slopes = torch.bmm(above, _keys(tile, problem.v).mT).to(problem.wide)
        if kept is not None:
            slopes.mul_(kept)
        slopes = _through(slopes, weights, normalised)
        if decays is not None:
            _collect(tile, _grid(tile, slopes), faded, causal)
        if slope is not None:
            slopes.mul_(slope)
        slopes = slopes.to(q.dtype)
        _queries(tile, dq).copy_(torch.bmm(slopes, _keys(tile, problem.k)))
        _add_product(_keys(tile, dk), slopes.mT, _queries(tile, problem.q))
    return dq.view(q.shape), dk.to(k.dtype).view(k.shape), dv.to(v.dtype).view(v.shape), faded


def _through(slopes: Tensor, weights: Tensor, normalised: bool) -> Tensor:
    """Return the gradient of the scores from that of their softmax or sigmoid."""
    if normalised:
        return torch.ops.aten._softmax_backward_data(slopes, weights, -1, weights.dtype)
    return torch.ops.aten.sigmoid_backward(slopes, weights)


def _collect(tile: _Tile, slopes: Tensor, faded: Tensor, causal: bool) -> None:
    """Add a tile's part of the gradient of F and G; ``slopes`` are ``(B, H, R, S)``."""
    top, bottom = tile.top, tile.bottom
    f, g = faded[0, tile.batch, tile.heads], faded[-1, tile.batch, tile.heads]
    block = slopes[..., top:bottom]
    for part, start in ((slopes[..., :top], 0), (block.tril(), top)):
        f[..., top:bottom] += part.sum(-1)
        f[..., start : start + part.shape[-1]] -= part.sum(-2)
    if causal:
        return
    for part, start in ((block.triu(1), top), (slopes[..., bottom:], bottom)):
        g[..., top:bottom] -= part.sum(-1)
        g[..., start : start + part.shape[-1]] += part.sum(-2)


@_attend.register_fake
def _shape(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(v, memory_format=torch.contiguous_format)


@_attend_backward.register_fake
def _shapes(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    decays = rest[5 - 1]
    like = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    return (*like, q.new_zeros(0) if decays is None else torch.empty_like(decays))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:9])
    ctx.options = inputs[9:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    dq, dk, dv, faded = _attend_backward(grad, *tensors, *ctx.options)
    decays = None if tensors[7] is None else faded
    return (dq, dk, dv, None, None, None, None, decays, *(None,) * 6)


_attend.register_autograd(_backward, setup_context=_keep)
