"""Element-wise methods: each function returns the new parameter and keeps its state in a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def adamw(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, betas: Any, eps: float, weight_decay: float
) -> Tensor:
    """AdamW, arXiv 1711.05101, with weight decay multiplied by the learning rate."""
    b1, b2 = betas
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", torch.zeros_like(p)) + (1 - b2) * g**2
    direction = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    return (1 - lr * weight_decay) * p - lr * direction


def sgd_momentum(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> Tensor:
    """SGD with coupled weight decay; the first momentum is the first gradient."""
    g = g + weight_decay * p
    b = state["b"] = momentum * state["b"] + g if "b" in state else g
    return p - lr * (g + momentum * b if nesterov else b)


def lion(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, betas: Any, weight_decay: float
) -> Tensor:
    """Lion, arXiv 2302.06675, algorithm 2."""
    b1, b2 = betas
    m = state.get("m", torch.zeros_like(p))
    direction = torch.sign(b1 * m + (1 - b1) * g)
    state["m"] = b2 * m + (1 - b2) * g
    return (1 - lr * weight_decay) * p - lr * direction


def lamb(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    adapt: bool | None = None,
) -> Tensor:
    """LAMB, arXiv 1904.00962v5, algorithm 2 with phi(x) = x; only matrices adapt by default."""
    adapt = p.ndim > 1 if adapt is None else adapt
    b1, b2 = betas
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", torch.zeros_like(p)) + (1 - b2) * g**2
    r = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * p
    weight, update = float(p.norm()), float(r.norm())
    trust = weight / update if adapt and weight > 0 and update > 0 else 1.0
    return p - lr * trust * r


def sophia(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    rho: float,
    eps: float,
    weight_decay: float,
    curvature: Tensor | None = None,
) -> Tensor:
    """Sophia, arXiv 2305.14342, algorithm 3; ``curvature`` is n g'^2 of a pass before this step, if any.

    Without it, ``state["h"]`` is the caller's to update.
    """
    b1, b2 = betas
    if curvature is not None:
        state["h"] = b2 * state.get("h", torch.zeros_like(p)) + (1 - b2) * curvature
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * g
    h = state.setdefault("h", torch.zeros_like(p))
    ratio = state["ratio"] = (m / (rho * h).clamp(min=eps)).clamp(-1, 1)
    return (1 - lr * weight_decay) * p - lr * ratio
