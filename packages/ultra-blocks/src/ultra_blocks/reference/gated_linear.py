"""The recurrence of gated linear attention in the notation of arXiv:2312.06635 (section 4).

One head. Shapes: Q, K, alpha ``(T, d_k)``, alpha decays in [0, 1]; V ``(T, d_v)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def recurrent(Q: Tensor, K: Tensor, V: Tensor, alpha: Tensor) -> Tensor:
    """``S_t = (alpha_t^T 1) * S_{t-1} + K_t^T V_t``, ``O_t = Q_t S_t``, from ``S_0 = 0``."""
    S = V.new_zeros(K.shape[1], V.shape[1])
    outputs = []
    for Q_t, K_t, V_t, alpha_t in zip(Q, K, V, alpha, strict=True):
        S = torch.outer(alpha_t, torch.ones_like(V_t)) * S + torch.outer(K_t, V_t)
        outputs.append(Q_t @ S)
    return torch.stack(outputs)


def parallel(Q: Tensor, K: Tensor, V: Tensor, alpha: Tensor) -> Tensor:
    """``P V`` with ``P_ij = sum_c Q_ic K_jc prod_{j < t <= i} alpha_tc`` for i >= j, else 0.

    The paper writes the product as ``b_i / b_j`` with b the cumulative product, which may underflow.
    """
    T = len(Q)
    P = [[(Q[i] * K[j] * alpha[j + 1 : i + 1].prod(0)).sum() * (i >= j) for j in range(T)] for i in range(T)]
    return torch.stack([torch.stack(row) for row in P]) @ V


def both(Q: Tensor, K: tuple[Tensor, Tensor], V: Tensor, alpha: tuple[Tensor, Tensor]) -> Tensor:
    """Scans from both ends with separate keys and decays; the term of a token itself is their mean."""
    ahead = recurrent(Q, K[0], V, alpha[0])
    back = recurrent(Q.flip(0), K[1].flip(0), V.flip(0), alpha[1].flip(0)).flip(0)
    own = (Q * (K[0] + K[1]) / 2).sum(-1, keepdim=True)
    return ahead + back - own * V
