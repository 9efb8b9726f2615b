"""Position codes as the papers write them: one pair, one head, one distance at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotation_matrix(position: float, head_dim: int, base: float = 10000.0) -> Tensor:
    """Return R_p of RoFormer's equation 15, block-diagonal ``(d, d)``, for adjacent channels, in fp64."""
    matrix = torch.zeros(head_dim, head_dim, dtype=torch.float64)
    for j in range(head_dim // 2):
        angle = position * base ** (-2 * j / head_dim)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        matrix[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = turn
    return matrix


def halves_to_pairs(head_dim: int) -> list[int]:
    """Return the order of channels in which pair j of the half-split layout is at 2j, 2j+1."""
    half = head_dim // 2
    return [c for j in range(half) for c in (j, j + half)]


def rope(x: Tensor, positions: Tensor, base: float = 10000.0, interleaved: bool = False) -> Tensor:
    """Rotate ``x`` ``(B, H, T, d)`` by ``positions`` ``(B, T)``, token by token."""
    order = list(range(x.shape[-1])) if interleaved else halves_to_pairs(x.shape[-1])
    back = sorted(range(len(order)), key=order.__getitem__)
    rows = []
    for b in range(x.shape[0]):
        tokens = [
            x[b, :, t][:, order].double() @ rotation_matrix(int(positions[b, t]), x.shape[-1], base).T
            for t in range(x.shape[2])
        ]
        rows.append(torch.stack(tokens, 1)[..., back])
    return torch.stack(rows).to(x.dtype)


def alibi_slopes(num_heads: int) -> list[float]:
    """Return the slopes by the recursion of the authors' code."""
    if num_heads & (num_heads - 1) == 0:
        start = 2 ** (-(2 ** -(math.log2(num_heads) - 3)))
        return [start * start**i for i in range(num_heads)]
    closest = 2 ** math.floor(math.log2(num_heads))
    return alibi_slopes(closest) + alibi_slopes(2 * closest)[0::2][: num_heads - closest]


def alibi(positions: Tensor, num_heads: int) -> Tensor:
    """Return the bias ``(B, H, T, T)`` in fp64 from ``positions`` ``(B, T)``."""
    batch, length = positions.shape
    bias = torch.zeros(batch, num_heads, length, length, dtype=torch.float64)
    for h, slope in enumerate(alibi_slopes(num_heads)):
        for i in range(length):
            for j in range(length):
                bias[:, h, i, j] = -slope * (positions[:, i] - positions[:, j]).abs()
    return bias
