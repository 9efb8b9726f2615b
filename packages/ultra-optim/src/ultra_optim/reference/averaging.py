"""Methods with three sequences, all of them stored: the iterates z, their average x, and y for gradients.

Each function returns the new y; ``state["x"]`` is the average.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _start(y: Tensor, state: dict[str, Any], *moments: str) -> int:
    """Put z, x and moments of zeros into an empty state; return the number of this step."""
    if not state:
        state.update({"t": 0, "z": y, "x": y}, **{name: torch.zeros_like(y) for name in moments})
    state["t"] += 1
    return int(state["t"])


def schedulefree_adamw(
    y: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    warmup_steps: int,
    r: float,
    weight_lr_power: float,
) -> Tensor:
    """Schedule-free AdamW, arXiv 2405.15682, algorithm 1."""
    b1, b2 = betas
    t = _start(y, state, "v")
    step_size = lr * min(1.0, t / max(1, warmup_steps))
    v = state["v"] = b2 * state["v"] + (1 - b2) * g**2
    z = state["z"] - step_size * (g / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * y)
    largest = state["largest"] = max(state.get("largest", 0.0), step_size)
    weight = t**r * largest**weight_lr_power
    total = state["total"] = state.get("total", 0.0) + weight
    x = (1 - weight / total) * state["x"] + weight / total * z
    state.update(z=z, x=x)
    return (1 - b1) * z + b1 * x


def gpa_adamw(
    y: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    mu_y: float,
    mu_x: float,
) -> Tensor:
    """AdamW with generalised primal averaging, arXiv 2512.17131."""
    b1, b2 = betas
    t = _start(y, state, "m", "v")
    m = state["m"] = b1 * state["m"] + (1 - b1) * g
    v = state["v"] = b2 * state["v"] + (1 - b2) * g**2
    z = state["z"] - lr * (m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * y)
    x = mu_x * state["x"] + (1 - mu_x) * z
    state.update(z=z, x=x)
    return mu_y * x + (1 - mu_y) * z
