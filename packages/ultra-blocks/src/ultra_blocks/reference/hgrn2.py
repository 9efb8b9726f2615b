"""HGRN2 (arXiv:2404.07904), causal or in both directions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.gated_linear import both, recurrent
from ultra_blocks.reference.layers import State, heads, linear
from ultra_blocks.reference.linear_recurrence import by_direction, project, read_out


def hgrn2(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    lower_bound: float,
    output_gate: str,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return the block of x ``(T, D)``; keys are ``1 - f``, with f the decays."""
    D = x.shape[-1]
    (Q, V), gate = project(x, state, (D, D), causal=causal)
    Q, V = heads(Q, num_heads), heads(V, num_heads)
    bound = torch.sigmoid(state["bound"]) if lower_bound else torch.zeros(D, dtype=x.dtype)
    bound = heads(bound[None], num_heads)
    raw = by_direction(linear(x, state, "forget_proj"), 1 if causal else 2, num_heads)
    f, K = zip(*(forget(r, bound) for r in raw), strict=True)
    y = []
    for h in range(num_heads):
        if causal:
            o = recurrent(Q[h], K[0][h], V[h], f[0][h])
        else:
            o = both(Q[h], (K[0][h], K[1][h]), V[h], (f[0][h], f[1][h]))
        y.append(o / math.sqrt(D // num_heads))
    return read_out(y, gate, state, output_gate=output_gate, eps=eps)


def forget(raw: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``f = bound + (1 - bound) sigmoid(raw)`` and its tied key ``1 - f``."""
    f = bound + (1 - bound) * torch.sigmoid(raw)
    return f, 1 - f


def lower_bounds(Gamma: Tensor) -> Tensor:
    """Return ``cumsum(softmax(Gamma))`` over layers, without the first: ``(L, d)`` -> ``(L, d)``."""
    P = torch.softmax(Gamma, 0)
    return P.cumsum(0) - P[0]
