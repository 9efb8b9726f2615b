"""Delta rules, plain and gated, in the notation of arXiv:2510.26692 (section 2).

One head. Shapes: Q, K ``(T, d_k)``; V ``(T, d_v)``; beta ``(T,)``; alpha ``(T, d_k)``, decays in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def recurrent(Q: Tensor, K: Tensor, V: Tensor, beta: Tensor, alpha: Tensor) -> Tensor:
    """``S_t = (I - beta_t k_t k_t^T) Diag(alpha_t) S_{t-1} + beta_t k_t v_t^T``, ``o_t = S_t^T q_t``.

    alpha = 1: DeltaNet; the same alpha for all channels: Gated DeltaNet; one each: KDA.
    """
    S = V.new_zeros(K.shape[1], V.shape[1])
    identity = torch.eye(K.shape[1], dtype=K.dtype)
    outputs = []
    for q, k, v, b, a in zip(Q, K, V, beta, alpha, strict=True):
        S = (identity - b * torch.outer(k, k)) @ torch.diag(a) @ S + b * torch.outer(k, v)
        outputs.append(S.T @ q)
    return torch.stack(outputs)


def mixing_matrix(Q: Tensor, K: Tensor, beta: Tensor, alpha: Tensor) -> Tensor:
    """``M`` with ``O = M V``: ``M_ts = q_t^T A_t .. A_{s+1} beta_s k_s``, A the transitions of the state."""
    T, d = K.shape
    M = Q.new_zeros(T, T)
    for s in range(T):
        reached = beta[s] * K[s]
        for t in range(s, T):
            if t > s:
                transition = torch.eye(d, dtype=K.dtype) - beta[t] * torch.outer(K[t], K[t])
                reached = transition @ (alpha[t] * reached)
            M[t, s] = Q[t] @ reached
    return M


def both(
    Q: Tensor, K: Tensor, V: Tensor, beta: tuple[Tensor, Tensor], alpha: tuple[Tensor, Tensor]
) -> Tensor:
    """One scan from each end, each with its own gates; the term of a token itself is the mean of both."""
    ahead = mixing_matrix(Q, K, beta[0], alpha[0])
    back = mixing_matrix(Q.flip(0), K.flip(0), beta[1].flip(0), alpha[1].flip(0)).flip(0, 1)
    own = (ahead.diagonal() + back.diagonal()) / 2
    return (ahead + back - torch.diag(own)) @ V
