"""HoPE as the paper writes it: one pair of tokens, one pair of channels at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def boost(rapidity: float) -> Tensor:
    """Return B of the paper, ``[[cosh, sinh], [sinh, cosh]]``, in fp64."""
    cosh, sinh = math.cosh(rapidity), math.sinh(rapidity)
    return torch.tensor([[cosh, sinh], [sinh, cosh]], dtype=torch.float64)


def dampings(head_dim: int, base: float, damping: float, margin: float, form: str) -> list[float]:
    """Return theta' of each pair of channels."""
    thetas = [base ** (-2 * j / head_dim) for j in range(head_dim // 2)]
    if form == "global":
        return [(1 + margin) * thetas[0] + damping] * len(thetas)
    return [(1 + margin) * theta + damping for theta in thetas]


def scores(
    q: Tensor,
    k: Tensor,
    positions: Tensor,
    *,
    base: float = 10000.0,
    damping: float = 0.01,
    margin: float = 0.1,
    form: str = "pair",
) -> Tensor:
    """Return ``s(m, n) = sum_j exp(-D theta'_j) q_j^T B(D theta_j) k_j`` in fp64, ``D = |m - n|``.

    Shapes:
        q, k ``(H, T, d)`` and positions ``(T,)`` of one row -> ``(H, T, T)``.
    """
    half = q.shape[-1] // 2
    theta_primes = dampings(q.shape[-1], base, damping, margin, form)
    rows = []
    for i, m in enumerate(positions.tolist()):
        row = []
        for other, n in enumerate(positions.tolist()):
            score = torch.zeros(len(q), dtype=torch.float64)
            for j, theta_prime in enumerate(theta_primes):
                q_j, k_j = q[:, i, [j, j + half]], k[:, other, [j, j + half]]
                distance = abs(m - n)
                boosted = k_j @ boost(distance * base ** (-j / half)).T
                score = score + math.exp(-distance * theta_prime) * (q_j * boosted).sum(-1)
            row.append(score)
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)
