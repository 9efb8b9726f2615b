"""Kimi delta attention (arXiv:2510.26692), causal or in both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.delta_rule import delta_block
from ultra_blocks.reference.layers import State, linear, softplus
from ultra_blocks.reference.linear_recurrence import by_direction


def kda(
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
    """Return the block of x; each channel has ``alpha = exp(-e^A_log softplus(W_2 W_1 x + dt_bias))``."""
    step = softplus(linear(linear(x, state, "decay_down"), state, "decay_up") + state["dt_bias"])
    rate = torch.exp(state["A_log"]).repeat_interleave(x.shape[-1] // num_heads)
    alpha = by_direction(torch.exp(-rate * step), 1 if causal else 2, num_heads)
    return delta_block(
        x,
        state,
        alpha,
        num_heads=num_heads,
        value_expansion=value_expansion,
        negative_eigenvalues=negative_eigenvalues,
        output_gate=output_gate,
        eps=eps,
    )
