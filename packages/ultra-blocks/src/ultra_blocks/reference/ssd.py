"""State space duality in the notation of arXiv:2405.21060, and Hydra's bidirectional form (arXiv:2407.09941).

One head. Shapes: X ``(T, P)``, dt ``(T,)``, A a number < 0, B, C ``(T, n)``; Y ``(T, P)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def recurrent(X: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """``S_t = exp(dt_t A) S_{t-1} + dt_t x_t^T B_t``, ``y_t = S_t C_t``."""
    S = X.new_zeros(X.shape[1], B.shape[1])
    outputs = []
    for x_t, dt_t, B_t, C_t in zip(X, dt, B, C, strict=True):
        S = torch.exp(dt_t * A) * S + dt_t * torch.outer(x_t, B_t)
        outputs.append(S @ C_t)
    return torch.stack(outputs)


def dual(X: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """``(L * C B^T) (dt X)`` with ``L_ij = exp(sum_{k=j+1..i} dt_k A)`` for i >= j, else 0."""
    T = len(X)
    L = torch.stack(
        [torch.stack([torch.exp((dt[j + 1 : i + 1] * A).sum()) for j in range(T)]) for i in range(T)]
    )
    return (L.tril() * (C @ B.T)) @ (dt[:, None] * X)


def hydra(
    X: Tensor, dt: tuple[Tensor, Tensor], A: Tensor, B: tuple[Tensor, Tensor], C: tuple[Tensor, Tensor]
) -> Tensor:
    """``shift(SSD_f(X)) + rev(shift(SSD_b(rev X)))``; the shift moves one step and fills with zero."""

    def shift(Y: Tensor) -> Tensor:
        return torch.cat((torch.zeros_like(Y[:1]), Y[:-1]))

    backward = recurrent(X.flip(0), dt[1].flip(0), A, B[1].flip(0), C[1].flip(0))
    return shift(recurrent(X, dt[0], A, B[0], C[0])) + shift(backward).flip(0)


def both(X: Tensor, dt: tuple[Tensor, Tensor], A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Causal + anti-causal, with the term of the token itself counted once, with the mean of both dt."""
    forward = recurrent(X, dt[0], A, B, C)
    backward = recurrent(X.flip(0), dt[1].flip(0), A, B.flip(0), C.flip(0)).flip(0)
    return forward + backward - ((dt[0] + dt[1]) / 2 * (B * C).sum(-1))[:, None] * X
