"""Gated linear attention (arXiv:2312.06635), causal or in both directions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.gated_linear import both, recurrent
from ultra_blocks.reference.layers import State, heads, linear
from ultra_blocks.reference.linear_recurrence import project, read_out


def gla(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    key_expansion: float,
    value_expansion: float,
    gate_temperature: float,
    output_gate: str,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return the block of x ``(T, D)``; ``alpha = sigmoid(W_2 W_1 x + b)^(1 / tau)``."""
    keys, values = (round(factor * x.shape[-1]) for factor in (key_expansion, value_expansion))
    (Q, K, V), gate = project(x, state, (keys, keys, values), causal=causal)
    Q, K, V = heads(Q, num_heads), heads(K, num_heads), heads(V, num_heads)
    alpha = []
    for n, low in enumerate(linear(x, state, "decay_down").chunk(1 if causal else 2, -1)):
        a = torch.sigmoid(linear(low, state, f"decay_up.{n}")) ** (1 / gate_temperature)
        alpha.append(heads(a, num_heads))
    y = []
    for h in range(num_heads):
        if causal:
            o = recurrent(Q[h], K[h], V[h], alpha[0][h])
        else:
            o = both(Q[h], (K[h], K[h]), V[h], (alpha[0][h], alpha[1][h]))
        y.append(o / math.sqrt(keys // num_heads))
    return read_out(y, gate, state, output_gate=output_gate, eps=eps)
