"""Multi-head latent attention in the notation of arXiv:2405.04434 (equations 9 to 19)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import attend
from ultra_blocks.reference.layers import State, concatenated, heads, linear, rms_norm
from ultra_blocks.reference.positions import products


def latent_attn(
    h: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    head_dim: int | None,
    rope_dim: int | None,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``u_t = W_O [o_t,1; ..; o_t,H]`` ``(T, D)`` of h ``(T, D)``."""
    width = h.shape[-1] // num_heads
    d_C = width if head_dim is None else head_dim
    d_R = 2 * math.ceil(width / 4) if rope_dim is None else rope_dim

    c_Q = h
    if "q_down_proj.weight" in state:
        c_Q = rms_norm(linear(h, state, "q_down_proj"), state["q_norm.weight"])
    q = linear(c_Q, state, "q_proj")
    q_C, q_R = heads(q[:, : num_heads * d_C], num_heads), heads(q[:, num_heads * d_C :], num_heads)

    down = linear(h, state, "kv_down_proj")
    c_KV = rms_norm(down[:, :-d_R], state["kv_norm.weight"])
    k_R = torch.stack([down[:, -d_R:]] * num_heads)
    up = linear(c_KV, state, "kv_up_proj")
    k_C, v_C = heads(up[:, : num_heads * d_C], num_heads), heads(up[:, num_heads * d_C :], num_heads)

    if qk_norm:  # both parts together
        q = rms_norm(torch.cat((q_C, q_R), -1), state["query_norm.weight"])
        k = rms_norm(torch.cat((k_C, k_R), -1), state["key_norm.weight"])
        q_C, q_R, k_C, k_R = q[..., :d_C], q[..., d_C:], k[..., :d_C], k[..., d_C:]
    S = (q_C @ k_C.mT + products(q_R, k_R, positions)) / math.sqrt(d_C + d_R)
    o = attend(S, v_C, causal=causal, window=window, softcap=softcap)
    return linear(concatenated(o), state, "out_proj")
