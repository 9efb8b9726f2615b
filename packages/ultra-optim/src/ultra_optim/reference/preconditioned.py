"""Shampoo, SOAP and PSGD Kron for one matrix; state in a dict."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def power(x: Tensor, exponent: float, eps: float) -> Tensor:
    """(x + eps lambda_max I)^exponent of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(x)
    return vectors @ torch.diag((values.clamp_min(0) + eps * values.max()) ** exponent) @ vectors.T


def shampoo(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    shampoo_beta: float,
    matrix_eps: float,
    precondition_frequency: int,
    start_preconditioning_step: int,
    grafting: str = "adam",
    weight_decay: float = 0.0,
) -> Tensor:
    """Shampoo, arXiv 1802.09568 and 2309.06497, with the norm of Adam's direction."""
    b1, b2 = betas
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", torch.zeros_like(p)) + (1 - b2) * g**2
    weight = 1 - shampoo_beta if shampoo_beta < 1 else 1.0
    state["L"] = shampoo_beta * state.get("L", 0) + weight * g @ g.T
    state["R"] = shampoo_beta * state.get("R", 0) + weight * g.T @ g
    average = m / (1 - b1**t)
    u = adam = average / ((v / (1 - b2**t)).sqrt() + eps)
    late = t - start_preconditioning_step
    if late >= 0:
        if late % precondition_frequency == 0:
            correction = 1 - shampoo_beta**t if shampoo_beta < 1 else 1.0
            for side in ("L", "R"):
                state["root " + side] = power(state[side] / correction, -0.25, matrix_eps)
        u = state["root L"] @ average @ state["root R"]
        if grafting == "adam":
            u = u * adam.norm() / u.norm()
    return (1 - lr * weight_decay) * p - lr * u


def soap(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    betas: Any,
    eps: float,
    shampoo_beta: float | None,
    precondition_frequency: int,
    weight_decay: float = 0.0,
) -> Tensor:
    """SOAP, arXiv 2409.11321, algorithm 3, as in the authors' code; the first step moves nothing.

    Raises:
        NotImplementedError: the matrix is not square: the eigenvectors of the first G^T G, which lacks rank,
            would depend on rounding.
    """
    if p.shape[0] != p.shape[1]:
        raise NotImplementedError("only square matrices have a basis that does not depend on rounding")
    b1, b2 = betas
    shampoo_beta = b2 if shampoo_beta is None else shampoo_beta
    first = "L" not in state
    t = state["t"] = state.get("t", -1) + 1
    if not first:
        q_l, q_r = state["Q_L"], state["Q_R"]
        rotated = q_l.T @ g @ q_r
        m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * rotated
        v = state["v"] = b2 * state.get("v", torch.zeros_like(p)) + (1 - b2) * rotated**2
        n = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
        p = (1 - lr * weight_decay) * p - lr * q_l @ n @ q_r.T
    state["L"] = shampoo_beta * state.get("L", 0) + (1 - shampoo_beta) * g @ g.T
    state["R"] = shampoo_beta * state.get("R", 0) + (1 - shampoo_beta) * g.T @ g
    if first:
        state["Q_L"] = torch.linalg.eigh(state["L"]).eigenvectors.flip(1)
        state["Q_R"] = torch.linalg.eigh(state["R"]).eigenvectors.flip(1)
    elif t % precondition_frequency == 0:
        m = state["Q_L"] @ state["m"] @ state["Q_R"].T
        for side, dim in (("L", 0), ("R", 1)):
            q = state["Q_" + side]
            order = torch.diag(q.T @ state[side] @ q).argsort(descending=True)
            state["v"] = state["v"].index_select(dim, order)
            state["Q_" + side] = torch.linalg.qr(state[side] @ q[:, order]).Q
        state["m"] = state["Q_L"].T @ m @ state["Q_R"]
    return p


def lower_bound(x: Tensor) -> Tensor:
    """A lower bound of the spectral norm of a symmetric matrix, from its longest column."""
    column = x[:, x.square().sum(0).argmax()]
    direction = x.T @ column
    return (x @ (direction / direction.norm())).norm()


def kron(
    p: Tensor,
    g: Tensor,
    state: dict[str, Any],
    *,
    noise: Any,
    lr: float,
    momentum: float,
    precond_lr: float,
    weight_decay: float = 0.0,
) -> Tensor:
    """PSGD Kron with triangular factors, which every step updates; ``noise(t)`` is V of step t."""
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = momentum * state.get("m", torch.zeros_like(p)) + (1 - momentum) * g
    average = m / (1 - momentum**t)
    q_l = state.get("Q_L", torch.eye(p.shape[0], dtype=p.dtype))
    q_r = state.get("Q_R", torch.eye(p.shape[1], dtype=p.dtype))
    v = noise(t)
    damped = average + math.sqrt(torch.finfo(torch.float32).eps) * average.abs().mean() * v
    a = q_l @ damped @ q_r.T
    b = torch.linalg.inv(q_l).T @ v @ torch.linalg.inv(q_r)
    for name, q, one, two in (("Q_L", q_l, a @ a.T, b @ b.T), ("Q_R", q_r, a.T @ a, b.T @ b)):
        state[name] = q - precond_lr * torch.triu(one - two) @ q / lower_bound(one + two)
    q_l, q_r = state["Q_L"], state["Q_R"]
    u = q_l.T @ q_l @ average @ q_r.T @ q_r
    u = u * min(1.0, 1.1 / float(u.square().mean().sqrt()))
    return (1 - lr * weight_decay) * p - lr * u
