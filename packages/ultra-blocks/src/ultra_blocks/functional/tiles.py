"""Attention by tiles of query rows: what no fused kernel offers, in memory linear in the length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.functional.tile_weights import Problem, Tile, ahead, grid_of, keys, queries
from ultra_blocks.layout import Layout


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
    away, and computed again in the backward pass. Statistics are at least fp32. On the CPU padding after the
    last real token of a row costs nothing.

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
    seed = torch.randint(2**62, (), device="cpu") if dropout else None
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
        layout.remember("lengths", lambda: _lengths(layout.mask)) if layout.padded else None,
        None,
        causal,
        window or 0,
        softcap or 0.0,
        normalised,
        dropout,
    )


def tiled_pairs(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, *, softcap: float) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the pairs that are ``seen``, by tiles as above.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, S, d)``.
        v: ``(B, H, S, e)``.
        seen: bool ``(B, H or 1, T or 1, S)``; no row of it may be empty. None: all.
        softcap: ``cap(s) = softcap tanh(s / softcap)``.

    Shapes:
        returns ``(B, H, T, e)``.
    """
    return _attend(q * q.shape[-1] ** -0.5, k, v, *(None,) * 7, seen, False, 0, softcap, True, 0.0)


def _lengths(mask: Tensor) -> Tensor:
    """Return where each row's last real token ends, ``(B,)``."""
    columns = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return torch.where(mask, columns, 0).amax(1)


def added_scores(shift: Tensor | None = None, decays: Tensor | None = None) -> Tensor | None:
    """Return what :func:`tiled_attention` adds for these, as ``(B, H or 1, T, T or 1)``."""
    if decays is None:
        return None if shift is None else shift[:, None, :, None]
    f, g = decays[0], decays[-1]
    behind = f[..., :, None] - f[..., None, :]
    added = torch.where(ahead(behind), g[..., None, :] - g[..., :, None], behind)
    return added if shift is None else added + shift[:, None, :, None]


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
    lengths: Tensor | None,
    seen: Tensor | None,
    causal: bool,
    window: int,
    softcap: float,
    normalised: bool,
    dropout: float,
) -> Tensor:
    problem = Problem(
        q,
        k,
        v,
        documents,
        positions,
        shift,
        bias,
        decays,
        seed,
        lengths,
        seen,
        causal,
        window,
        softcap,
        normalised,
        dropout,
    )
    y = q.new_zeros(*problem.q.shape[:2], v.shape[-1])
    for tile in problem.tiles():
        weights, _ = problem.weights(tile)
        if (kept := problem.dropped(weights)) is not None:
            weights = weights.mul_(kept)
        queries(tile, y).copy_(torch.bmm(weights.to(v.dtype), keys(tile, problem.v)))
    return y.view(*q.shape[:3], v.shape[-1])


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
    lengths: Tensor | None,
    seen: Tensor | None,
    causal: bool,
    window: int,
    softcap: float,
    normalised: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    problem = Problem(
        q,
        k,
        v,
        documents,
        positions,
        shift,
        bias,
        decays,
        seed,
        lengths,
        seen,
        causal,
        window,
        softcap,
        normalised,
        dropout,
    )
    grad = grad.flatten(0, 1)
    dq = torch.zeros_like(problem.q)
    dk, dv = (torch.zeros_like(x, dtype=problem.wide) for x in (problem.k, problem.v))
    faded = torch.zeros_like(decays) if decays is not None else q.new_zeros(0)
    for tile in problem.tiles():
        weights, slope = problem.weights(tile)
        kept = problem.dropped(weights)
        above = queries(tile, grad)
        read = weights if kept is None else weights * kept
        _add_product(keys(tile, dv), read.to(v.dtype).mT, above)
        slopes = torch.bmm(above, keys(tile, problem.v).mT).to(problem.wide)
        if kept is not None:
            slopes.mul_(kept)
        slopes = _through(slopes, weights, normalised)
        if decays is not None:
            _collect(tile, grid_of(tile, slopes), faded, causal)
        if slope is not None:
            slopes.mul_(slope)
        slopes = slopes.to(q.dtype)
        queries(tile, dq).copy_(torch.bmm(slopes, keys(tile, problem.k)))
        _add_product(keys(tile, dk), slopes.mT, queries(tile, problem.q))
    return dq.view(q.shape), dk.to(k.dtype).view(k.shape), dv.to(v.dtype).view(v.shape), faded


def _through(slopes: Tensor, weights: Tensor, normalised: bool) -> Tensor:
    """Return the gradient of the scores from that of their softmax or sigmoid."""
    if normalised:
        return torch.ops.aten._softmax_backward_data(slopes, weights, -1, weights.dtype)
    return torch.ops.aten.sigmoid_backward(slopes, weights)


def _collect(tile: Tile, slopes: Tensor, faded: Tensor, causal: bool) -> None:
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
    return v.new_empty(*q.shape[:3], v.shape[-1])


@_attend_backward.register_fake
def _shapes(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    decays = rest[4]
    like = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    return (*like, q.new_zeros(0) if decays is None else torch.empty_like(decays))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:11])
    ctx.options = inputs[11:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    dq, dk, dv, faded = _attend_backward(grad, *tensors, *ctx.options)
    decays = None if tensors[7] is None else faded
    return (dq, dk, dv, None, None, None, None, decays, *(None,) * 8)


_attend.register_autograd(_backward, setup_context=_keep)
