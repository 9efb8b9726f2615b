"""Sigmoid attention (arXiv:2409.04431)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultra_blocks.reference.attention import multi_head
from ultra_blocks.reference.layers import State, linear, rms_norm


def sigmoid_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    qk_norm: bool,
    output_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``[sigmoid(S - log n) V] W_O``, with n the number of keys of each query."""
    y = multi_head(
        x,
        state,
        num_heads=num_heads,
        positions=positions,
        qk_norm=qk_norm,
        causal=causal,
        window=window,
        softcap=softcap,
        normalised=False,
    )
    y = linear(y, state, "out_proj")
    return rms_norm(y, state["output_norm.weight"]) if output_norm else y
