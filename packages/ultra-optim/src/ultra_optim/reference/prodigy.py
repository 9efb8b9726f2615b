"""Prodigy over all tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def prodigy(
    start: Sequence[Tensor],
    gradient: Callable[[list[Tensor], int], list[Tensor]],
    *,
    lrs: Sequence[float],
    steps: int,
    betas: Any,
    eps: float,
    weight_decay: float,
    d0: float,
    use_bias_correction: bool,
) -> list[Tensor]:
    """Prodigy, arXiv 2306.06101, algorithm 4, with a learning rate for each tensor; returns the weights.

    ``gradient(weights, t)`` gives the gradients of update t, which counts from 1.
    """
    b1, b2 = betas
    b3, base, d, numerator = b2**0.5, max(lrs), d0, 0.0
    p = list(start)
    m, v, s = ([torch.zeros_like(t) for t in start] for _ in range(3))
    for t in range(1, steps + 1):
        g = gradient(p, t)
        step = d * base * ((1 - b2**t) ** 0.5 / (1 - b1**t) if use_bias_correction else 1.0)
        numerator = b3 * numerator + d / d0 * step * sum(
            float((g[i] * (start[i] - p[i])).sum()) for i in range(len(p))
        )
        units = [lr / base for lr in lrs]
        s = [b3 * s[i] + d / d0 * step * units[i] * g[i] for i in range(len(p))]
        m = [b1 * m[i] + (1 - b1) * d * g[i] for i in range(len(p))]
        v = [b2 * v[i] + (1 - b2) * d * d * g[i] ** 2 for i in range(len(p))]
        d = max(d, numerator / sum(float(t.abs().sum()) for t in s))
        p = [
            p[i] - step * units[i] * (m[i] / (v[i].sqrt() + d * eps) + weight_decay * p[i])
            for i in range(len(p))
        ]
    return p


def prodigy_step(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    weight_decay: float,
    d0: float,
) -> Tensor:
    """One step of Prodigy for a model of one tensor, without bias correction."""
    b1, b2 = betas
    b3 = b2**0.5
    if not state:
        zero = torch.zeros_like(p)
        state.update(start=p, d=d0, numerator=0.0, m=zero, v=zero, s=zero)
    d = state["d"]
    step = d * lr
    away = float((g * (state["start"] - p)).sum())
    state["numerator"] = b3 * state["numerator"] + d / d0 * step * away
    state["s"] = b3 * state["s"] + d / d0 * step * g
    m = state["m"] = b1 * state["m"] + (1 - b1) * d * g
    v = state["v"] = b2 * state["v"] + (1 - b2) * d * d * g**2
    state["d"] = max(d, state["numerator"] / float(state["s"].abs().sum()))
    return p - step * (m / (v.sqrt() + state["d"] * eps) + weight_decay * p)
