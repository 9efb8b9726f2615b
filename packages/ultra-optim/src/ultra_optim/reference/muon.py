"""Muon for one matrix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def newton_schulz(g: Tensor, steps: int = 5, coefficients: Any = (3.4445, -4.7750, 2.0315)) -> Tensor:
    """The quintic iteration on a matrix of any shape, in its own dtype."""
    a, b, c = coefficients
    x = g / g.norm() if float(g.norm()) > 0 else g
    if x.shape[0] > x.shape[1]:
        return newton_schulz(g.T, steps, coefficients).T
    for _ in range(steps):
        s = x @ x.T
        x = a * x + b * s @ x + c * s @ s @ x
    return x


def polar(g: Tensor) -> Tensor:
    """U V^T of the singular value decomposition, which the iteration approximates."""
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    return u @ vh


def muon(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
    nesterov: bool = True,
    adjust_lr_fn: str = "match_rms_adamw",
    ns_steps: int = 5,
) -> Tensor:
    """The new matrix after one step."""
    b = state["b"] = momentum * state.get("b", torch.zeros_like(p)) + (1 - momentum) * g
    d = momentum * b + (1 - momentum) * g if nesterov else b
    rows, columns = p.shape
    scale = {
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
        "original": math.sqrt(max(1, rows / columns)),
        "spectral": math.sqrt(rows / columns),
    }[adjust_lr_fn]
    return (1 - lr * weight_decay) * p - lr * scale * newton_schulz(d, ns_steps)
