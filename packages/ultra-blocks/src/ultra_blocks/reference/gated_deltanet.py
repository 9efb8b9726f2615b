"""Gated DeltaNet (arXiv:2412.06464), causal or in both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.delta_rule import delta_block
from ultra_blocks.reference.layers import State, linear, softplus
from ultra_blocks.reference.linear_recurrence import by_direction


def gated_deltanet(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    value_expansion: int,
    negative_eigenvalues: bool,
    output_gate: str,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return the block of x ``(T, D)``; each head has ``alpha = exp(-e^A_log softplus(W_a x + dt_bias))``."""
    step = softplus(linear(x, state, "decay_proj") + state["dt_bias"])
    alpha = by_direction(torch.exp(-torch.exp(state["A_log"]) * step), 1 if causal else 2, num_heads)
    d_k = x.shape[-1] // num_heads
    return delta_block(
        x,
        state,
        [a.expand(-1, -1, d_k) for a in alpha],
        num_heads=num_heads,
        value_expansion=value_expansion,
        negative_eigenvalues=negative_eigenvalues,
        output_gate=output_gate,
        eps=eps,
    )
