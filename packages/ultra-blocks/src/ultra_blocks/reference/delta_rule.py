"""Delta rules, plain and gated, in the notation of arXiv:2510.26692 (section 2).

One head. Shapes: Q, K ``(T, d_k)``; V ``(T, d_v)``; beta ``(T,)``; alpha ``(T, d_k)``, decays in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State, heads, linear
from ultra_blocks.reference.linear_recurrence import by_direction, project, read_out


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


def both(
    Q: Tensor, K: Tensor, V: Tensor, beta: tuple[Tensor, Tensor], alpha: tuple[Tensor, Tensor]
) -> Tensor:
    """One scan from each end, each with its own gates; the term of a token itself is the mean of both."""
    ahead = recurrent(Q, K, V, beta[0], alpha[0])
    back = recurrent(*(x.flip(0) for x in (Q, K, V, beta[1], alpha[1]))).flip(0)
    own = (beta[0] + beta[1]) / 2 * (Q * K).sum(-1)
    return ahead + back - own[:, None] * V


def delta_block(
    x: Tensor,
    state: State,
    alpha: list[Tensor],
    *,
    num_heads: int,
    value_expansion: int,
    negative_eigenvalues: bool,
    output_gate: str,
    eps: float,
) -> Tensor:
    """Return the block ``(T, D)`` of x ``(T, D)``, with decays alpha ``(H, T, d_k)`` of each direction."""
    d_k, causal = x.shape[-1] // num_heads, len(alpha) == 1
    widths = (x.shape[-1], x.shape[-1], value_expansion * x.shape[-1])
    (Q, K, V), gate = project(x, state, widths, causal=causal)
    Q, K, V = unit(heads(Q, num_heads)), unit(heads(K, num_heads)), heads(V, num_heads)
    strongest = 2 if negative_eigenvalues else 1
    raw = by_direction(linear(x, state, "beta_proj"), len(alpha), num_heads)
    beta = [strongest * torch.sigmoid(b)[..., 0] for b in raw]
    y = []
    for h in range(num_heads):
        if causal:
            o = recurrent(Q[h], K[h], V[h], beta[0][h], alpha[0][h])
        else:
            o = both(Q[h], K[h], V[h], (beta[0][h], beta[1][h]), (alpha[0][h], alpha[1][h]))
        y.append(o / math.sqrt(d_k))
    return read_out(y, gate, state, output_gate=output_gate, eps=eps)


def unit(x: Tensor) -> Tensor:
    """Return vectors divided by their norm, ``x / sqrt(|x|^2 + 1e-6)``."""
    return x / ((x * x).sum(-1, keepdim=True) + 1e-6).sqrt()
