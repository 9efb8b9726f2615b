"""Longformer attention (arXiv:2004.05150), one query at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import near, queries_keys_values, read
from ultra_blocks.reference.layers import State, concatenated, heads, linear, rms_norm
from ultra_blocks.reference.positions import products


def longformer_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    window: int,
    global_tokens: int,
    positions: Any,
    qk_norm: bool,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return attention to a window and the first tokens; in encoders these have projections of their own."""
    q, k, v = queries_keys_values(x, state, num_heads, num_heads, qk_norm=qk_norm)
    S = products(q, k, positions) / math.sqrt(q.shape[-1])
    if global_tokens and not causal:
        q, (k, own_v) = linear(x, state, "global_q_proj"), linear(x, state, "global_kv_proj").chunk(2, -1)
        q, k, own_v = heads(q, num_heads), heads(k, num_heads), heads(own_v, num_heads)
        if qk_norm:
            q, k = rms_norm(q, state["global_q_norm.weight"]), rms_norm(k, state["global_k_norm.weight"])
        own_S = products(q, k, positions) / math.sqrt(q.shape[-1])
    y = []
    for n in range(num_heads):
        for i in range(len(x)):
            if i < global_tokens and not causal:
                y.append(read(own_S[n, i], own_v[n], softcap=softcap))
            else:
                seen = attended(i, len(x), window, global_tokens, causal)
                y.append(read(S[n, i, seen], v[n, seen], softcap=softcap))
    return linear(concatenated(torch.stack(y).view(num_heads, len(x), -1)), state, "out_proj")


def attended(i: int, length: int, window: int, global_tokens: int, causal: bool) -> list[int]:
    """Return the tokens to which token i attends: those in its window, and the global ones."""
    allowed = range(i + 1) if causal else range(length)
    return [j for j in allowed if near(i - j, window, causal) or j < global_tokens]
