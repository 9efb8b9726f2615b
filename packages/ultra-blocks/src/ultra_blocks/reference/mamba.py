"""Mamba-2 (arXiv:2405.21060) and Hydra (arXiv:2407.09941)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.layers import (
    State,
    concatenated,
    convolved,
    heads,
    linear,
    rms_norm,
    silu,
    softplus,
)
from ultra_blocks.reference.ssd import both, hydra, recurrent


def mamba(
    x: Tensor,
    state: State,
    *,
    causal: bool,
    bidirectional_form: str,
    state_size: int,
    expand: int,
    num_groups: int,
    dt_limit: tuple[float, float | None],
    norm_before_gate: bool | None,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return ``W_out norm(y silu(z))`` or ``W_out (norm(y) silu(z))`` ``(T, D)`` of x ``(T, D)``."""
    inner, H, G, n = expand * x.shape[-1], len(state["A_log"]), num_groups, state_size
    form = "causal" if causal else bidirectional_form
    sets = 4 if form == "hydra" else 2
    widths = (inner, *sets * (G * n,))
    z, u, dt = linear(x, state, "in_proj").tensor_split((inner, inner + sum(widths)), -1)
    u = silu(convolved(u, state["conv1d.weight"], state["conv1d.bias"], causal=causal))
    X, *BC = u.split(widths, -1)
    X_heads, BC_groups = heads(X, H), [heads(part, G) for part in BC]
    A = -torch.exp(state["A_log"])
    y = []
    for h in range(H):
        g = h // (H // G)
        steps = [softplus(part[:, h] + state["dt_bias"][h]).clamp(*dt_limit) for part in dt.split(H, -1)]
        parts = [part[g] for part in BC_groups]
        own = state["D"][h]
        if form == "causal":
            y_h = recurrent(X_heads[h], steps[0], A[h], *parts)
        elif form == "sum":
            y_h = both(X_heads[h], (steps[0], steps[1]), A[h], *parts)
        else:
            B, C = (parts[0], parts[2]), (parts[1], parts[3])
            y_h = hydra(X_heads[h], (steps[0], steps[1]), A[h], B, C)
            own = own + (X @ state["own_proj.weight"][h])[:, None]
        y.append(y_h + own * X_heads[h])
    Y, gate = concatenated(torch.stack(y)), silu(z)
    if norm_before_gate is None:
        norm_before_gate = form == "hydra"
    Y = Y if norm_before_gate else Y * gate
    Y = concatenated(rms_norm(heads(Y, G), eps=eps)) * state["norm.weight"]
    return linear(Y * gate if norm_before_gate else Y, state, "out_proj")
