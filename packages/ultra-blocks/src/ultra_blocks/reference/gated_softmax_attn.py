"""Softmax attention whose output is gated by the query token (arXiv:2505.06708, gate G1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import multi_head
from ultra_blocks.reference.layers import State, linear


def gated_softmax_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    gate: str,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``[A V * sigmoid(x W_g)] W_O``, with a gate per channel ("element") or per head ("head")."""
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
    g = torch.sigmoid(linear(x, state, "gate_proj"))
    if gate == "head":
        g = g.repeat_interleave(x.shape[-1] // num_heads, -1)
    return linear(y * g, state, "out_proj")
