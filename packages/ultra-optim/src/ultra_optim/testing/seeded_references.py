"""References of methods that draw random numbers, which are functions of the seed and the step.

The optimizer and its reference share ``ultra_optim.engine.seeded_random``, and nothing else.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor

from ultra_optim.engine.seeded_random import normal
from ultra_optim.reference.low_rank import apollo
from ultra_optim.reference.preconditioned import kron


def seeded_apollo(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    rank: int,
    update_interval: int,
    seed: int,
    lr: float,
    betas: Any,
    eps: float,
    scale: float,
    weight_decay: float,
    scale_type: str = "channel",
    proj_type: str = "std",
    scale_front: bool = False,
    disable_nl: bool = False,
    quantised: bool = False,
) -> Tensor:
    """APOLLO with P drawn from the seed; P is a plain function of numbers, which the optimizer shares."""
    sides = {"std": min(p.shape), "reverse_std": max(p.shape), "left": p.shape[0], "right": p.shape[1]}
    side = sides[proj_type]
    r = min(rank, side)

    def projections(t: int) -> Tensor:
        return normal((side, r), seed, (t - 1) // update_interval, like=p) / math.sqrt(r)

    adam = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "quantised": quantised}
    scales = {"scale": scale, "scale_type": scale_type, "scale_front": scale_front, "disable_nl": disable_nl}
    return apollo(p, g, state, projections=projections, proj_type=proj_type, **adam, **scales)  # type: ignore[arg-type]


apollo_8bit = partial(seeded_apollo, quantised=True)
"""APOLLO with moments that are kept in 8 bits."""

apollo_mini = partial(seeded_apollo, rank=1, scale_type="tensor")
"""APOLLO of rank 1 with one scale for each matrix."""


def seeded_kron(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    seed: int,
    lr: float,
    momentum: float,
    precond_lr: float,
    weight_decay: float = 0.0,
) -> Tensor:
    """PSGD Kron with V drawn from the seed; V is a plain function of numbers, which the optimizer shares."""
    options = {"lr": lr, "momentum": momentum, "precond_lr": precond_lr, "weight_decay": weight_decay}
    return kron(p, g, state, noise=lambda t: normal(p.shape, seed, t, like=p), **options)
