"""Relatives of Muon: each function returns the new matrix and keeps its state in a dict."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ultra_optim.reference import muon as parts


def nesterov_momentum(g: Tensor, state: dict[str, Any], momentum: float, nesterov: bool) -> Tensor:
    """Return Muon's momentum, an average of the gradients, which looks one step ahead if ``nesterov``."""
    b = state["b"] = momentum * state.get("b", torch.zeros_like(g)) + (1 - momentum) * g
    return momentum * b + (1 - momentum) * g if nesterov else b


def rms_scale(p: Tensor) -> float:
    """Return the factor that gives an orthogonal update of this shape the root mean square of AdamW's."""
    return 0.2 * math.sqrt(max(p.shape))


def muonclip(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    max_logit: float,
    row_blocks: Any,
    qk_clip_threshold: float,
    qk_clip_alpha: float,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    adjust_lr_fn: str,
    ns_steps: int,
    ns_eps: float,
) -> Tensor:
    """MuonClip, arXiv 2507.20534, algorithm 1, where one head has its queries above its keys.

    ``max_logit`` is 0 for a matrix that is no projection of queries and keys.
    """
    step = partial(parts.muon, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)
    step = partial(step, adjust_lr_fn=adjust_lr_fn, ns_steps=ns_steps, ns_eps=ns_eps)
    blocks = list(row_blocks) or [len(p)]
    states = state.setdefault("blocks", [{} for _ in blocks])
    moved = torch.cat([step(*piece) for piece in zip(p.split(blocks), g.split(blocks), states, strict=True)])
    if max_logit <= qk_clip_threshold:
        return moved
    queries, keys = moved.split([len(p) // 2, len(p) - len(p) // 2])
    factor = qk_clip_threshold / max_logit
    return torch.cat([factor**qk_clip_alpha * queries, factor ** (1 - qk_clip_alpha) * keys])


def turbo_muon(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
) -> Tensor:
    """Turbo-Muon, arXiv 2512.04632, with four iterations."""
    direction = parts.turbo(nesterov_momentum(g, state, momentum, nesterov))
    return (1 - lr * weight_decay) * p - lr * rms_scale(p) * direction


def normuon(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    beta2: float,
    nesterov: bool,
) -> Tensor:
    """NorMuon, arXiv 2510.05491, algorithm 1, with Muon's scale."""
    o = rms_scale(p) * parts.newton_schulz(nesterov_momentum(g, state, momentum, nesterov))
    direction, state["v"] = parts.normuon(o, state.get("v", p.new_zeros(len(p))), beta2)
    return (1 - lr * weight_decay) * p - lr * direction


def adamuon(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    beta2: float,
    eps: float,
    nesterov: bool,
    sign: bool,
) -> Tensor:
    """AdaMuon, arXiv 2507.11005, algorithm 1."""
    t = state["t"] = state.get("t", 0) + 1
    d = nesterov_momentum(g, state, momentum, nesterov)
    # the norm undoes any factor but in eps, which is for an update of this size
    o = math.sqrt(p.shape[0] / p.shape[1]) * parts.newton_schulz(torch.sign(d) if sign else d)
    direction, state["v"] = parts.adamuon(o, state.get("v", torch.zeros_like(p)), beta2, t, eps)
    return (1 - lr * weight_decay) * p - lr * direction


def mars_muon(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    gamma: float,
    nesterov: bool,
) -> Tensor:
    """MARS-M, arXiv 2510.21800, algorithm 2, with Muon's scale."""
    c = parts.mars(g, state.get("before", torch.zeros_like(g)), momentum, gamma)
    state["before"] = g
    direction = parts.newton_schulz(nesterov_momentum(c, state, momentum, nesterov))
    return (1 - lr * weight_decay) * p - lr * rms_scale(p) * direction


def scion(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    kind: str,
    lr: float,
    momentum: float,
    radius: float,
    radius_ends: float,
    radius_vectors: float,
    unconstrained: bool,
) -> Tensor:
    """Scion, arXiv 2502.07529, algorithm 2; ``momentum`` is the weight of the new gradient."""
    m = state["m"] = (1 - momentum) * state.get("m", torch.zeros_like(p)) + momentum * g
    if kind in ("matrix", "expert"):
        direction = radius * math.sqrt(p.shape[0] / p.shape[1]) * parts.newton_schulz(m)
    elif kind in ("embedding", "head") and p.ndim == 2:
        direction = radius_ends * m.sign() / p.shape[1]
    else:
        direction = radius_vectors * m / (m.square().mean().sqrt() + 1e-8)
    return (1 if unconstrained else 1 - lr) * p - lr * direction
