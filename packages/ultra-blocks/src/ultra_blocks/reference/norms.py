"""The norms and the element-wise maps in their place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State


def layer_norm(x: Tensor, state: State, *, eps: float, **_: Any) -> Tensor:
    """Return ``weight (x - mean) / sqrt(mean (x - mean)^2 + eps) + bias`` (arXiv:1607.06450)."""
    D = x.shape[-1]
    mean = x.sum(-1, keepdim=True) / D
    var = ((x - mean) ** 2).sum(-1, keepdim=True) / D
    return state["weight"] * (x - mean) / (var + eps) ** 0.5 + state.get("bias", 0.0)


def rms_norm(x: Tensor, state: State, *, eps: float, **_: Any) -> Tensor:
    """Return ``weight x / sqrt(mean x^2 + eps)`` (arXiv:1910.07467)."""
    return state["weight"] * x / ((x**2).sum(-1, keepdim=True) / x.shape[-1] + eps) ** 0.5


def dynamic_tanh(x: Tensor, state: State, **_: Any) -> Tensor:
    """Return ``weight tanh(alpha x) + bias`` (arXiv:2503.10622)."""
    return state["weight"] * torch.tanh(state["alpha"] * x) + state["bias"]


def derf(x: Tensor, state: State, **_: Any) -> Tensor:
    """Return ``weight erf(alpha x + shift) + bias`` (arXiv:2512.10938)."""
    return state["weight"] * torch.erf(state["alpha"] * x + state["shift"]) + state["bias"]
