"""DeltaNet (arXiv:2406.06484), causal or in both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.delta_rule import delta_block
from ultra_blocks.reference.layers import State


def deltanet(
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
    """Return the block of x ``(T, D)``: ``S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T``."""
    alpha = torch.ones(num_heads, len(x), x.shape[-1] // num_heads, dtype=x.dtype)
    return delta_block(
        x,
        state,
        [alpha] * (1 if causal else 2),
        num_heads=num_heads,
        value_expansion=value_expansion,
        negative_eigenvalues=negative_eigenvalues,
        output_gate=output_gate,
        eps=eps,
    )
