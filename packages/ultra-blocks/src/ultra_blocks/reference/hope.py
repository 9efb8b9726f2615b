"""HoPE as arXiv:2509.05218 writes it: one pair of channels at a time."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Return ``s(m, n) = sum_j exp(-D theta'_j) q_j^T B(D theta_j) k_j``, ``D = |m - n|``.

    B(x) is ``[[cosh x, sinh x], [sinh x, cosh x]]``, and a pair of channels is ``(x_j, x_{j+d/2})``.

    Shapes:
        q, k ``(H, T, d)`` and positions ``(T,)`` of one row -> ``(H, T, T)``.
    """
    half = q.shape[-1] // 2
    D = (positions[:, None] - positions[None, :]).abs().to(q.dtype)
    total = torch.zeros(len(q), *D.shape, dtype=q.dtype)
    for j, theta_prime in enumerate(dampings(q.shape[-1], base, damping, margin, form)):
        theta = base ** (-j / half)
        cosh, sinh = torch.cosh(D * theta), torch.sinh(D * theta)
        (q_a, q_b), (k_a, k_b) = ((x[..., j], x[..., j + half]) for x in (q, k))
        q_a, q_b, k_a, k_b = q_a[:, :, None], q_b[:, :, None], k_a[:, None, :], k_b[:, None, :]
        boosted = q_a * (cosh * k_a + sinh * k_b) + q_b * (sinh * k_a + cosh * k_b)
        total = total + torch.exp(-D * theta_prime) * boosted
    return total


def hope(
    q: Tensor,
    k: Tensor,
    state: object,
    *,
    base: float,
    damping: float,
    margin: float,
    damping_form: str,
    **_: object,
) -> Tensor:
    """Return the scores ``(H, T, T)`` of q and k ``(H, T, d)`` at positions 0, 1, ..."""
    del state
    positions = torch.arange(q.shape[1])
    return scores(q, k, positions, base=base, damping=damping, margin=margin, form=damping_form)
