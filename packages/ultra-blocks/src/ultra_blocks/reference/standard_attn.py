"""Multi-head softmax attention (arXiv:1706.03762)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.reference.attention import multi_head
from ultra_blocks.reference.layers import State, linear


def standard_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``[softmax(Q K^T / sqrt(d) + bias) V over heads] W_O``; x and the result are ``(T, D)``."""
    y = multi_head(
        x,
        state,
        num_heads=num_heads,
        positions=positions,
        qk_norm=qk_norm,
        causal=causal,
        window=window,
        softcap=softcap,
    )
    return linear(y, state, "out_proj")
