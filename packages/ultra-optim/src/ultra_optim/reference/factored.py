"""Adafactor and CAME for one tensor; state in a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rms(x: Tensor) -> Tensor:
    """Root mean square of all elements."""
    return x.square().mean().sqrt()


def factored_average(x: Tensor, state: dict[str, Any], name: str, decay: float) -> Tensor:
    """F(x): the outer product of averaged row and column means over the mean of the former."""
    row, column = x.mean(1), x.mean(0)
    r = state[name + "_r"] = decay * state.get(name + "_r", torch.zeros_like(row)) + (1 - decay) * row
    c = state[name + "_c"] = decay * state.get(name + "_c", torch.zeros_like(column)) + (1 - decay) * column
    return torch.outer(r, c) / r.mean()


def adafactor(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: Any = (1e-30, 1e-3),
    d: float = 1.0,
    beta2_decay: float = -0.8,
    scale_parameter: bool = False,
    relative_step: bool = False,
) -> Tensor:
    """Adafactor, arXiv 1804.04235, algorithms 4 and 5."""
    t = state["t"] = state.get("t", 0) + 1
    b = 1 - t**beta2_decay
    squares = g**2 + eps[0]
    if p.ndim == 2:
        v = factored_average(squares, state, "v", b)
    else:
        v = state["v"] = b * state.get("v", torch.zeros_like(p)) + (1 - b) * squares
    u = g / v.sqrt()
    u = u / max(1.0, float(rms(u)) / d)
    alpha = min(lr, t**-0.5) if relative_step else lr
    if scale_parameter:
        alpha *= max(eps[1], float(rms(p)))
    return (1 - lr * weight_decay) * p - alpha * u


def came(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float = 0.0,
    betas: Any = (0.9, 0.999, 0.9999),
    eps: Any = (1e-30, 1e-16),
    clip_threshold: float = 1.0,
) -> Tensor:
    """CAME, arXiv 2307.02047, algorithm 2."""
    b1, b2, b3 = betas
    squares = g**2 + eps[0]
    if p.ndim == 2:
        v = factored_average(squares, state, "v", b2)
    else:
        v = state["v"] = b2 * state.get("v", torch.zeros_like(p)) + (1 - b2) * squares
    u = g / v.sqrt()
    u = u / max(1.0, float(rms(u)) / clip_threshold)
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * u
    step = m / factored_average((u - m) ** 2 + eps[1], state, "s", b3).sqrt() if p.ndim == 2 else m
    return (1 - lr * weight_decay) * p - lr * step
