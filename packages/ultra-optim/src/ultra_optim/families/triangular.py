"""Products of triangular and symmetric matrices that skip the half that is zero or known."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ultra_optim.engine import sizes


def blocks(size: int) -> list[slice]:
    """Return slices of nearly equal length, at least three where they are long enough for a call."""
    count = max(-(-size // sizes.TRIANGULAR_BLOCK), min(3, size // 64), 1)
    edges = [size * i // count for i in range(count + 1)]
    return [slice(*edge) for edge in itertools.pairwise(edges)]


def triangular_product(upper: Tensor, matrix: Tensor, *, transposed: bool = False) -> Tensor:
    """Return upper @ matrix, or upper^T @ matrix.

    Args:
        upper: ``(batch, n, n)``, zero below the diagonal.
        matrix: ``(batch, n, m)``.
        transposed: whether to transpose ``upper``.
    """
    result = torch.empty(matrix.shape, dtype=matrix.dtype, device=matrix.device)
    for block in blocks(upper.shape[-1]):
        rest = slice(0, block.stop) if transposed else slice(block.start, None)
        part = upper[:, rest, block].mT if transposed else upper[:, block, rest]
        torch.bmm(part, matrix[:, rest], out=result[:, block])
    return result


def gram(matrix: Tensor) -> Tensor:
    """Return matrix @ matrix^T of ``(batch, n, m)``; one triangle is computed and mirrored."""
    batch, size, _ = matrix.shape
    result = matrix.new_empty(batch, size, size)
    for block in blocks(size):
        rest = slice(block.start, None)
        torch.bmm(matrix[:, block], matrix[:, rest].mT, out=result[:, block, rest])
        result[:, block.stop :, block] = result[:, block, block.stop :].mT
    return result


def subtract_product_(upper: Tensor, left: Tensor) -> None:
    """upper <- upper - left @ upper in place, both ``(batch, n, n)`` and zero below the diagonal."""
    parts = blocks(upper.shape[-1])
    for i, rows in enumerate(parts):
        for columns in parts[i:]:
            inner = slice(rows.start, columns.stop)
            upper[:, rows, columns] -= left[:, rows, inner] @ upper[:, inner, columns]
