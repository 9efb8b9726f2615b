"""Softmax attention by a fused kernel, or by tiles where scores are capped: fused kernels have no cap."""

from __future__ import annotations

from torch import Tensor

from ultra_blocks.functional.attention import fused_attention, kernel_attention, repeat_heads
from ultra_blocks.functional.tiles import tiled_attention, tiled_pairs
from ultra_blocks.layout import Layout


def attention_within(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the keys that each query may see.

    ``softcap`` is that of :func:`tiled_attention`, None: no cap; all else is as in :func:`kernel_attention`.
    """
    if softcap is None:
        return kernel_attention(q, k, v, layout, causal=causal, window=window, dropout=dropout)
    return tiled_attention(
        *_alike(q, k, v), layout, causal=causal, window=window, softcap=softcap, dropout=dropout
    )


def attention_over(
    q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None, *, softcap: float | None = None
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the pairs that are ``seen``.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, S, d)``, G dividing H.
        v: ``(B, G, S, e)``.
        seen: bool ``(B, H or 1, T or 1, S)``; no row of it may be empty. None: all.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, e)``.
    """
    if softcap is None:
        return fused_attention(q, k, v, seen)
    return tiled_pairs(*_alike(q, k, v), seen, softcap=softcap)


def _alike(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v of one dtype, and with as many heads."""
    heads = q.shape[1]
    return q.to(v.dtype), repeat_heads(k.to(v.dtype), heads), repeat_heads(v, heads)
