"""Relatives of Adam: each function returns the new parameter and keeps its state in a dict."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_optim.reference.formulas import adamw


def _average(state: dict[str, Any], name: str, beta: float, x: Tensor) -> Tensor:
    state[name] = beta * state.get(name, torch.zeros_like(x)) + (1 - beta) * x
    return state[name]


def _count(state: dict[str, Any]) -> int:
    state["t"] = state.get("t", 0) + 1
    return int(state["t"])


def radam(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, betas: Any, eps: float, weight_decay: float
) -> Tensor:
    """RAdam, arXiv 1908.03265, algorithm 2, with the threshold 5 and eps of its authors' code."""
    b1, b2 = betas
    t = _count(state)
    m, v = _average(state, "m", b1, g), _average(state, "v", b2, g**2)
    m_hat = m / (1 - b1**t)
    rho_max = 2 / (1 - b2) - 1
    rho = rho_max - 2 * t * b2**t / (1 - b2**t)
    p = p - lr * weight_decay * p
    if rho <= 5:
        return p - lr * m_hat
    r = math.sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
    return p - lr * r * m_hat * math.sqrt(1 - b2**t) / (v.sqrt() + eps)


def adan(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    no_prox: bool = False,
) -> Tensor:
    """Adan, arXiv 2208.06677, algorithm 1 with bias correction and decay rates."""
    b1, b2, b3 = betas
    t = _count(state)
    d = g - state.get("g", g)
    state["g"] = g
    m, n = _average(state, "m", b1, g), _average(state, "n", b2, d)
    v = _average(state, "v", b3, (g + b2 * d) ** 2)
    u = (m / (1 - b1**t) + b2 * n / (1 - b2**t)) / ((v / (1 - b3**t)).sqrt() + eps)
    if no_prox:
        return (1 - lr * weight_decay) * p - lr * u
    return (p - lr * u) / (1 + lr * weight_decay)


def adopt(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    clip: bool = True,
) -> Tensor:
    """ADOPT, arXiv 2411.02853, algorithm 2; steps count from 0."""
    b1, b2 = betas
    t = _count(state) - 1
    if t == 0:
        state["v"] = g**2
        return p
    u = g / torch.clamp(state["v"].sqrt(), min=eps)
    bound = t**0.25 if clip else math.inf
    m = _average(state, "m", b1, u.clamp(-bound, bound))
    state["v"] = b2 * state["v"] + (1 - b2) * g**2
    return (1 - lr * weight_decay) * p - lr * m


def ademamix(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    alpha: float,
    t_alpha_beta3: int | None,
    total_steps: int = 0,
) -> Tensor:
    """AdEMAMix, arXiv 2409.03137, algorithm 1 with the schedulers of section 3.1."""
    b1, b2, b3 = betas
    t = _count(state)
    warmup = total_steps if t_alpha_beta3 is None else t_alpha_beta3
    share = min(t / warmup, 1.0) if warmup else 1.0
    weighted = (1 - share) * math.log(b3) + share * math.log(b1)
    b3_t = min(math.exp(math.log(b1) * math.log(b3) / weighted), b3)
    m1, m2 = _average(state, "m1", b1, g), _average(state, "m2", b3_t, g)
    v = _average(state, "v", b2, g**2)
    u = (m1 / (1 - b1**t) + share * alpha * m2) / ((v / (1 - b2**t)).sqrt() + eps)
    return p - lr * (u + weight_decay * p)


def mars_adamw(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    gamma: float,
    betas_1d: Any = None,
) -> Tensor:
    """MARS-AdamW, arXiv 2411.10438, algorithm 2, the approximate version.

    Vectors take AdamW with ``betas_1d`` if that is given.
    """
    if betas_1d is not None and p.ndim < 2:
        return adamw(p, g, state, lr=lr, betas=betas_1d, eps=eps, weight_decay=weight_decay)
    b1, b2 = betas
    t = _count(state)
    c = g + gamma * b1 / (1 - b1) * (g - state.get("g", torch.zeros_like(g)))
    state["g"] = g
    c = c / max(1.0, float(c.norm()))
    m, v = _average(state, "m", b1, c), _average(state, "v", b2, c**2)
    u = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    return p - lr * (u + weight_decay * p)


def cautious_adamw(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, betas: Any, eps: float, weight_decay: float
) -> Tensor:
    """Cautious AdamW, arXiv 2411.16085, algorithm 1; gradients that are 0 do not count in the mean."""
    b1, b2 = betas
    t = _count(state)
    m, v = _average(state, "m", b1, g), _average(state, "v", b2, g**2)
    u = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    mask = (m * g > 0).to(p.dtype)
    present = max(int((g != 0).sum()), 1)
    scale = 1 / max(float(mask.sum()) / present, 1e-3)
    return (1 - lr * weight_decay) * p - lr * scale * mask * u


def stable_adamw(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, betas: Any, eps: float, weight_decay: float
) -> Tensor:
    """StableAdamW, arXiv 2304.13013, algorithm 2."""
    t = _count(state)
    b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in betas)
    m, v = _average(state, "m", b1, g), _average(state, "v", b2, g**2)
    rms = math.sqrt(float((g**2 / v.clamp(min=eps**2)).mean()))
    lr = lr / max(1.0, rms)
    return p - lr * weight_decay * p - lr * m / (v.sqrt() + eps)


def adam_mini(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    block_rows: int = 1,
) -> Tensor:
    """Adam-mini, arXiv 2406.16793, algorithm 1, for a matrix with blocks of rows or a vector."""
    if p.ndim == 0:
        line = adam_mini(p[None], g[None], state, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        return line[0]
    b1, b2 = betas
    t = _count(state)
    m = _average(state, "m", b1, g)
    blocks = p.shape[0] // block_rows if p.ndim > 1 else 1
    squares = torch.stack([(block**2).mean() for block in g.chunk(blocks)])
    v = _average(state, "v", b2, squares)
    scale = 1 / ((v / (1 - b2**t)).sqrt() + eps)
    u = torch.cat([s * block for s, block in zip(scale, (m / (1 - b1**t)).chunk(blocks), strict=True)])
    return (1 - lr * weight_decay) * p - lr * u


def decayed(p: Tensor, d: Tensor, *, lr: float, weight_decay: float, rule: str, peak: float) -> Tensor:
    """Return a parameter after weight decay by a rule, where its step is - lr d."""
    part = torch.full_like(p, lr * weight_decay)
    if rule == "corrected":  # arXiv 2506.02285
        part = part * lr / peak
    if rule == "cautious":  # arXiv 2510.12402, algorithm 1
        part = part * (d * p >= 0)
    return p - part * p
