"""Muon for one matrix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

TURBO = (
    (4.6051, -9.6552, 5.6769),
    (4.7505, -6.0861, 2.1790),
    (2.7763, -2.3190, 0.5523),
    (2.4231, -2.2861, 0.8193),
)


def newton_schulz(
    g: Tensor, steps: int = 5, coefficients: Any = (3.4445, -4.7750, 2.0315), eps: float = 0.0
) -> Tensor:
    """The quintic iteration on a matrix of any shape, in its own dtype."""
    a, b, c = coefficients
    x = g / (g.norm() + eps) if float(g.norm()) > 0 else g
    if x.shape[0] > x.shape[1]:
        return newton_schulz(g.T, steps, coefficients, eps).T
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
    ns_eps: float = 0.0,
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
    return (1 - lr * weight_decay) * p - lr * scale * newton_schulz(d, ns_steps, eps=ns_eps)


def turbo(g: Tensor, eps: float = 0.0) -> Tensor:
    """Turbo-Muon's four iterations, on rows divided by the roots of their sums of |G G^T|."""
    if g.shape[0] > g.shape[1]:
        return turbo(g.T, eps).T
    x = torch.diag((g @ g.T).abs().sum(1).clamp(min=eps) ** -0.5) @ g
    for a, b, c in TURBO:
        s = x @ x.T
        x = a * x + b * s @ x + c * s @ s @ x
    return x


def normuon(g: Tensor, v: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """The direction of NorMuon for an orthogonalised, scaled ``g`` (r, c), and the new v (r,)."""
    v = beta2 * v + (1 - beta2) * (g**2).mean(1)
    p = g / v.sqrt()[:, None]
    return p * g.norm() / p.norm(), v


def adamuon(o: Tensor, v: Tensor, beta2: float, t: int, eps: float) -> tuple[Tensor, Tensor]:
    """The direction of AdaMuon for an orthogonalised ``o`` (r, c), and the new V (r, c)."""
    v = beta2 * v + (1 - beta2) * o**2
    p = o / ((v / (1 - beta2**t)).sqrt() + eps)
    return p * 0.2 * math.sqrt(o.numel()) / p.norm(), v


def mars(g: Tensor, before: Tensor, momentum: float, gamma: float) -> Tensor:
    """The corrected gradient of MARS-M."""
    c = g + gamma * momentum / (1 - momentum) * (g - before)
    return c / max(1.0, float(c.norm()))
