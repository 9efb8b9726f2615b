"""GaLore and APOLLO for one matrix; state in a dict."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ultra_optim.reference.quantised import rounded


def moments(r: Tensor, state: dict[str, Any], betas: Any) -> tuple[Tensor, Tensor]:
    """Adam's averages, without bias correction."""
    m = state["m"] = betas[0] * state.get("m", torch.zeros_like(r)) + (1 - betas[0]) * r
    v = state["v"] = betas[1] * state.get("v", torch.zeros_like(r)) + (1 - betas[1]) * r**2
    return m, v


def galore(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    rank: int,
    update_interval: int,
    scale: float,
    weight_decay: float = 0.0,
) -> Tensor:
    """GaLore, arXiv 2403.03507, algorithm 2; the projection is on the shorter side."""
    if p.shape[0] < p.shape[1]:
        turned = partial(galore, lr=lr, betas=betas, eps=eps, rank=rank, update_interval=update_interval)
        return turned(p.T, g.T, state, scale=scale, weight_decay=weight_decay).T
    t = state["t"] = state.get("t", 0) + 1
    if (t - 1) % update_interval == 0:
        q = torch.linalg.svd(g, full_matrices=False).Vh[:rank].T
        if "q" in state:
            q = q * torch.where((q * state["q"]).sum(0) < 0, -1.0, 1.0)
        state["q"] = q
    q = state["q"]
    m, v = moments(g @ q, state, betas)
    n = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
    return (1 - lr * weight_decay) * p - lr * scale * n @ q.T


def apollo(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    projections: Any,
    lr: float,
    betas: Any,
    eps: float,
    scale: float = 1.0,
    scale_type: str = "channel",
    proj_type: str = "std",
    scale_front: bool = False,
    disable_nl: bool = False,
    weight_decay: float = 0.0,
    quantised: bool = False,
) -> Tensor:
    """APOLLO, arXiv 2412.05270, algorithm 1, with the options of its authors' code.

    ``projections(t)`` is P of step t; ``quantised``: the moments are kept in 8 bits.
    """
    rows, columns = p.shape
    right = {"std": rows >= columns, "reverse_std": rows < columns, "right": True, "left": False}[proj_type]
    if not right:
        turned = partial(apollo, projections=projections, lr=lr, betas=betas, eps=eps, scale=scale)
        turned = partial(turned, scale_type=scale_type, scale_front=scale_front, disable_nl=disable_nl)
        turned = partial(turned, quantised=quantised)
        return turned(p.T, g.T, state, proj_type="right", weight_decay=weight_decay).T
    t = state["t"] = state.get("t", 0) + 1
    r = g @ projections(t)
    m, v = moments(r, state, betas)
    if quantised:
        state["m"], state["v"] = rounded(m, signed=True), rounded(v, signed=False)
    n = m / (v.sqrt() + eps)
    s = (
        n.norm(dim=1, keepdim=True) / r.norm(dim=1, keepdim=True)
        if scale_type == "channel"
        else n.norm() / r.norm()
    )
    u = s * g
    if scale_front:
        u = u * math.sqrt(scale)
    if "length" in state and not disable_nl:
        u = u / max(1.0, float(u.norm()) / (1.01 * state["length"]))
    state["length"] = float(u.norm())
    if not scale_front:
        u = u * math.sqrt(scale)
    eta = lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
    return (1 - lr * weight_decay) * p - eta * u
