"""Softmax attention whose scores may have a soft cap: by a fused kernel without one, by tiles with one."""

from __future__ import annotations

from torch import Tensor

from ultra_blocks.functional.attention import fused_attention, kernel_attention, repeat_heads
from ultra_blocks.functional.tiled_attention import tiled_attention, tiled_masked_attention
from ultra_blocks.layout import Layout


def softcap_attention(
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
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the keys that each query may attend to.

    Args:
        q, k, v, layout, causal, window, dropout: as in :func:`kernel_attention`.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.
    """
    if softcap is None:
        return kernel_attention(q, k, v, layout, causal=causal, window=window, dropout=dropout)
    return tiled_attention(
        *_matched(q, k, v), layout, causal=causal, window=window, softcap=softcap, dropout=dropout
    )


def masked_softcap_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, softcap: float | None = None
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the pairs of a mask.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, S, d)``, G dividing H.
        v: ``(B, G, S, e)``.
        mask: bool ``(B, H or 1, T or 1, S)``, with at least one key for every query. None: all pairs.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, e)``.
    """
    if softcap is None:
        return fused_attention(q, k, v, mask)
    return tiled_masked_attention(*_matched(q, k, v), mask, softcap=softcap)


def _matched(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v with the dtype of v and the number of heads of q."""
    heads = q.shape[1]
    return q.to(v.dtype), repeat_heads(k.to(v.dtype), heads), repeat_heads(v, heads)
