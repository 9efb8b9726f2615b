"""Methods with three sequences, all of them stored: the iterates z, their average x, and y for gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def schedulefree_adamw(
    start: Tensor,
    grads: Sequence[Tensor],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    warmup_steps: int,
    r: float,
    weight_lr_power: float,
) -> tuple[Tensor, Tensor]:
    """Schedule-free AdamW, arXiv 2405.15682, algorithm 1; returns x and y after all gradients."""
    b1, b2 = betas
    x = y = z = start
    v = torch.zeros_like(start)
    total = largest = 0.0
    for t, g in enumerate(grads, 1):
        step_size = lr * min(1.0, t / max(1, warmup_steps))
        v = b2 * v + (1 - b2) * g**2
        z = z - step_size * (g / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * y)
        largest = max(largest, step_size)
        weight = t**r * largest**weight_lr_power
        total += weight
        x = (1 - weight / total) * x + weight / total * z
        y = (1 - b1) * z + b1 * x
    return x, y


def gpa_adamw(
    start: Tensor,
    grads: Sequence[Tensor],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    mu_y: float,
    mu_x: float,
) -> tuple[Tensor, Tensor]:
    """AdamW with generalised primal averaging, arXiv 2512.17131; returns x and y after all gradients."""
    b1, b2 = betas
    x = y = z = start
    m, v = torch.zeros_like(start), torch.zeros_like(start)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        z = z - lr * (m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * y)
        x = mu_x * x + (1 - mu_x) * z
        y = mu_y * x + (1 - mu_y) * z
    return x, y
