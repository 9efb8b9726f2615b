"""Softmax attention: the choice of a fused kernel, and the explicit form with the scores in memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ultra_blocks.layout import Layout


@cache
def ragged_kernel() -> Callable[..., Any] | None:
    """Return ``varlen_attn`` if this version of torch has it with the arguments used here, else None.

    It is imported on first use, because it imports the compiler, which takes seconds that a CPU never
    recovers.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch < 2.10
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"window_size", "enable_gqa"} <= set(known) else None


def kernel_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d) + bias) v`` over the keys that each query may attend to.

    The kernel for variable lengths is used on a CUDA device in half precision, for padded or packed batches
    without window and bias. Otherwise ``scaled_dot_product_attention`` is used, without a mask if none is
    needed.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, T, d)``, G dividing H: each key head serves ``H/G`` adjacent query heads.
        v: ``(B, G, T, e)``.
        layout: padding and documents of the batch.
        causal: mask later keys.
        window: width of local attention, see :meth:`Layout.attention_mask`.
        bias: ``(B or 1, H, T, T)``, added to the scaled scores.
        dropout: probability that an attention weight is dropped.

    Shapes:
        returns ``(B, H, T, e)``; values at padding queries are meaningless but finite.
    """
    if (width := v.shape[-1]) < q.shape[-1]:  # flash kernels require equal widths
        wide = F.pad(v, (0, q.shape[-1] - width))
        y = kernel_attention(q, k, wide, layout, causal=causal, window=window, bias=bias, dropout=dropout)
        return y[..., :width]
    plain = window is None and bias is None
    if plain and dropout == 0.0 and not layout.dense and can_be_ragged(q) and layout.max_seqlen:
        return ragged_attention(q, k, v, layout, causal=causal)
    # padding on the right is later than every real query, so that the causal kernel needs no mask for it
    triangle = causal and plain and layout.indexed
    mask = None if triangle else layout.attention_mask(causal, window)
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return fused_attention(q, k, v, mask, causal=triangle, dropout=dropout)


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``scaled_dot_product_attention`` with finite gradients for scores of any size.

    In the backward pass, torch's CPU kernel computes exp(score - logsumexp), which overflows for scores whose
    rounding errors are large. Such scores are left to torch's unfused form.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, S, d)``, G dividing H.
        v: ``(B, G, S, e)``.
        mask: bool, or a bias added to the scaled scores.
        causal: mask later keys.
        dropout: probability that an attention weight is dropped.
    """
    backward = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    known = not torch.compiler.is_compiling() and q.numel() and k.numel()
    plain = q.is_cpu and known and backward and _may_overflow(q, k)
    grouped = bool(k.shape[1] != q.shape[1])  # a symbol while sizes are traced
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
        )


def _may_overflow(q: Tensor, k: Tensor) -> bool:
    """Whether rounding errors of a score may exceed 1/16, estimated from the largest elements of q and k.

    False where torch does not allow reading values: under ``vmap``, while tracing, and on the meta device.
    """
    try:
        # heads are adjacent in memory; in another order this is slow
        flat = [x.detach().transpose(1, 2).reshape(-1) for x in (q, k)]
        largest = [float(torch.stack(x.aminmax()).abs().max()) for x in flat]
    except RuntimeError:
        return False
    exact = torch.finfo(torch.promote_types(q.dtype, torch.float32)).eps
    return largest[0] * largest[1] * q.shape[-1] ** 0.5 * exact > 1 / 16


def can_be_ragged(q: Tensor) -> bool:
    """Whether the kernel for variable lengths exists and accepts this device and dtype."""
    return q.is_cuda and q.dtype in (torch.float16, torch.bfloat16) and ragged_kernel() is not None


def ragged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    kernel: Callable[..., Any] | None = None,
) -> Tensor:
    """Return the same as :func:`kernel_attention`, computed on real tokens only, with zeros at padding."""
    batch, heads, length, width = q.shape
    real, borders, longest = layout.segments
    kernel = kernel or ragged_kernel()
    assert kernel is not None, "call can_be_ragged first"
    q, k, v = (x.transpose(1, 2).flatten(0, 1)[real] for x in (q, k, v))
    sides = (-1, 0) if causal else (-1, -1)
    gqa = k.shape[1] != heads
    y = kernel(q, k, v, borders, borders, longest, longest, window_size=sides, enable_gqa=gqa)
    scattered = y.new_zeros(batch * length, heads, width).index_copy(0, real, y)
    return scattered.view(batch, length, heads, width).transpose(1, 2)


def soft_capped(scores: Tensor, softcap: float | None) -> Tensor:
    """Return ``softcap tanh(s / softcap)``; None: no cap."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def explicit_attention(
    scores: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``softmax(cap(scores) + bias) v``, with the scores in memory and a softmax in at least fp32.

    Args:
        scores: ``(B, H, T, S)``, already scaled.
        v: ``(B, G, S, d)``, G dividing H.
        mask: bool, broadcastable to the scores, True where a query attends; no row may be empty.
        bias: broadcastable to the scores; added after the cap, which it therefore does not affect.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.
        normalised: softmax over the keys; False: sigmoid of each score.
        dropout: probability that an attention weight is dropped.

    Shapes:
        returns ``(B, H, T, d)``.
    """
    weights = attention_weights(scores, mask=mask, bias=bias, softcap=softcap, normalised=normalised)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights.to(v.dtype) @ repeat_heads(v, scores.shape[1])


def attention_weights(
    scores: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
) -> Tensor:
    """Return the weights ``(B, H, T, S)`` of :func:`explicit_attention`, in at least fp32."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = soft_capped(scores, softcap)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) if normalised else scores.sigmoid()


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Return ``x`` ``(B, G, T, d)`` with each head repeated in place to give ``(B, heads, T, d)``."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
