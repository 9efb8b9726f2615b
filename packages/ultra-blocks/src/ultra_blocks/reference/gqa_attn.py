"""Grouped-query attention (arXiv:2305.13245)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.reference.attention import multi_head
from ultra_blocks.reference.layers import State, linear


def gqa_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    num_kv_heads: int | None,
    causal: bool,
    positions: Any,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return attention in which query head h reads key head ``floor(h G / H)``; G is H / 4 if 4 divides H."""
    if num_kv_heads is None:
        num_kv_heads = num_heads // 4 if num_heads % 4 == 0 else 1
    y = multi_head(
        x,
        state,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        positions=positions,
        qk_norm=qk_norm,
        causal=causal,
        window=window,
        softcap=softcap,
    )
    return linear(y, state, "out_proj")
