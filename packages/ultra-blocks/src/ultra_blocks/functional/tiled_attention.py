"""Attention by tiles of query rows: scores that no fused kernel offers, in memory linear in the length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.functional.tile_scores import (
    TENSORS,
    Tile,
    TileScores,
    TileSpec,
    above_diagonal,
    by_head,
    keys,
    operator_schema,
    queries,
)
from ultra_blocks.layout import Layout


def tiled_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    window: int | None = None,
    query_bias: Tensor | None = None,
    bias: Tensor | None = None,
    decay_sums: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``y_i = sum_j a(s_ij) v_j`` over the keys that query i may attend to.

    ::

        s_ij = cap(q_i k_j / sqrt(d)) + query_bias_i + bias_ij + decay_ij,  cap(s) = softcap tanh(s / softcap)
        decay_ij = F_i - F_j  for j <= i,    G_j - G_i  for j > i

    where a is the softmax over j, or the sigmoid. The scores of some rows at a time are computed, used and
    discarded, and recomputed in the backward pass. Statistics are at least fp32. On the CPU, padding after
    the last real token of a row costs nothing.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, T, d)``.
        v: ``(B, H, T, e)``.
        layout: padding and documents of the batch.
        causal: mask later keys.
        window: width of local attention, see :meth:`Layout.attention_mask`.
        query_bias: ``(B, T)``, without gradient.
        bias: ``(B or 1, H or 1, T, T)``, without gradient.
        decay_sums: F alone ``(1, B, H, T)``, or F and G ``(2, B, H, T)``, preferably fp64; G = F by default.
        softcap: bound of the scores; None: no bound.
        normalised: softmax over the keys; False: sigmoid of each score.
        dropout: probability that an attention weight is dropped.

    Shapes:
        returns ``(B, H, T, e)``; values at padding queries are meaningless but finite.

    Raises:
        ValueError: ``query_bias`` or ``bias`` requires a gradient.
    """
    if any(x is not None and x.requires_grad for x in (query_bias, bias)):
        raise ValueError(
            "tiled_attention: query_bias and bias get no gradient; use explicit_attention for that"
        )
    seed = torch.randint(2**62, (), device="cpu") if dropout else None
    documents: Tensor | None = layout.documents
    if window is None and (layout.dense or (causal and layout.indexed)):
        documents = None  # padding on the right is later than every real query
    elif not (normalised or layout.packed or window is not None):
        # no mask is needed: a key with value 0 adds nothing, and its score gets no gradient
        v, documents = layout.zero_padding(v.transpose(1, 2)).transpose(1, 2), None
    spec = TileSpec(
        q * q.shape[-1] ** -0.5,
        k,
        v,
        documents=documents,
        positions=None if window is None else layout.positions,
        query_bias=query_bias,
        bias=bias,
        decay_sums=decay_sums,
        seed=seed,
        lengths=layout.remember("lengths", lambda: _lengths(layout.mask)) if layout.padded else None,
        causal=causal,
        window=window or 0,
        softcap=softcap or 0.0,
        normalised=normalised,
        dropout=dropout,
    )
    return _attend(*spec)


def tiled_masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, softcap: float) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the pairs of a mask, by tiles as above.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, S, d)``.
        v: ``(B, H, S, e)``.
        mask: bool ``(B, H or 1, T or 1, S)``, with at least one key for every query. None: all pairs.
        softcap: ``cap(s) = softcap tanh(s / softcap)``.

    Shapes:
        returns ``(B, H, T, e)``.
    """
    return _attend(*TileSpec(q * q.shape[-1] ** -0.5, k, v, mask=mask, softcap=softcap))


def _lengths(mask: Tensor) -> Tensor:
    """Return the end of the last real token of each row, ``(B,)``."""
    columns = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return torch.where(mask, columns, 0).amax(1)


def score_bias(query_bias: Tensor | None = None, decay_sums: Tensor | None = None) -> Tensor | None:
    """Return what :func:`tiled_attention` adds to the scores, as one tensor ``(B, H or 1, T, T or 1)``."""
    if decay_sums is None:
        return None if query_bias is None else query_bias[:, None, :, None]
    f, g = decay_sums[0], decay_sums[-1]
    behind = f[..., :, None] - f[..., None, :]
    decays = torch.where(above_diagonal(behind), g[..., None, :] - g[..., :, None], behind)
    return decays if query_bias is None else decays + query_bias[:, None, :, None]


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a b``; sums of half-precision products are accumulated in fp32."""
    if into.dtype is a.dtype:
        into.baddbmm_(a, b)
    else:
        into.add_(torch.bmm(a, b))


@torch.library.custom_op("ultra::tiled_attention", mutates_args=(), schema=operator_schema("Tensor"))
def _attend(*arguments: Any) -> Tensor:
    spec = TileSpec(*arguments)
    tiles = TileScores(spec)
    y = spec.q.new_zeros(*tiles.q.shape[:2], spec.v.shape[-1])
    for tile in tiles.tiles():
        weights, _ = tiles.weights(tile)
        if (factors := tiles.dropout_factors(weights)) is not None:
            weights = weights.mul_(factors)
        queries(tile, y).copy_(torch.bmm(weights.to(spec.v.dtype), keys(tile, tiles.v)))
    return y.view(*spec.q.shape[:3], spec.v.shape[-1])


@torch.library.custom_op(
    "ultra::tiled_attention_backward",
    mutates_args=(),
    schema=operator_schema("(Tensor, Tensor, Tensor, Tensor)", "grad"),
)
def _attend_backward(grad: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and ``decay_sums``, the last one empty without decays."""
    spec = TileSpec(*arguments)
    tiles = TileScores(spec)
    q, k, v, decay_sums = spec.q, spec.k, spec.v, spec.decay_sums
    grad = grad.flatten(0, 1)
    dq = torch.zeros_like(tiles.q)
    dk, dv = (torch.zeros_like(x, dtype=tiles.wide) for x in (tiles.k, tiles.v))
    d_sums = torch.zeros_like(decay_sums) if decay_sums is not None else q.new_zeros(0)
    for tile in tiles.tiles():
        weights, slope = tiles.weights(tile)
        factors = tiles.dropout_factors(weights)
        d_output = queries(tile, grad)
        used = weights if factors is None else weights * factors
        _add_product(keys(tile, dv), used.to(v.dtype).mT, d_output)
        d_scores = torch.bmm(d_output, keys(tile, tiles.v).mT).to(tiles.wide)
        if factors is not None:
            d_scores.mul_(factors)
        d_scores = _through_weights(d_scores, weights, spec.normalised)
        if decay_sums is not None:
            _add_decay_gradient(tile, by_head(tile, d_scores), d_sums, spec.causal)
        if slope is not None:
            d_scores.mul_(slope)
        d_scores = d_scores.to(q.dtype)
        queries(tile, dq).copy_(torch.bmm(d_scores, keys(tile, tiles.k)))
        _add_product(keys(tile, dk), d_scores.mT, queries(tile, tiles.q))
    return dq.view(q.shape), dk.to(k.dtype).view(k.shape), dv.to(v.dtype).view(v.shape), d_sums


def _through_weights(d_weights: Tensor, weights: Tensor, normalised: bool) -> Tensor:
    """Return the gradient of the scores, given that of their softmax or sigmoid."""
    if normalised:
        return torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
    return torch.ops.aten.sigmoid_backward(d_weights, weights)


def _add_decay_gradient(tile: Tile, d_scores: Tensor, d_sums: Tensor, causal: bool) -> None:
    """Add the part of a tile to the gradient of F and G; ``d_scores`` are ``(B, H, R, S)``."""
    top, bottom = tile.top, tile.bottom
    f, g = d_sums[0, tile.batch, tile.heads], d_sums[-1, tile.batch, tile.heads]
    block = d_scores[..., top:bottom]
    for part, start in ((d_scores[..., :top], 0), (block.tril(), top)):
        f[..., top:bottom] += part.sum(-1)
        f[..., start : start + part.shape[-1]] -= part.sum(-2)
    if causal:
        return
    for part, start in ((block.triu(1), top), (d_scores[..., bottom:], bottom)):
        g[..., top:bottom] -= part.sum(-1)
        g[..., start : start + part.shape[-1]] += part.sum(-2)


@_attend.register_fake
def _shape(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Tensor:
    return v.new_empty(*q.shape[:3], v.shape[-1])


@_attend_backward.register_fake
def _shapes(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    spec = TileSpec(*arguments)
    like = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (spec.q, spec.k, spec.v))
    sums = spec.decay_sums
    return (*like, spec.q.new_zeros(0) if sums is None else torch.empty_like(sums))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:TENSORS])
    ctx.options = inputs[TENSORS:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    spec = TileSpec(*ctx.saved_tensors, *ctx.options)
    dq, dk, dv, d_sums = _attend_backward(grad, *spec)
    gradients: dict[str, Tensor | None] = {"q": dq, "k": dk, "v": dv}
    if spec.decay_sums is not None:
        gradients["decay_sums"] = d_sums
    return tuple(gradients.get(name) for name in TileSpec._fields)


_attend.register_autograd(_backward, setup_context=_save)
