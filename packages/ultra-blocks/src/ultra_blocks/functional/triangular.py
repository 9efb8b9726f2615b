"""Batched inverse of small unit lower triangular matrices, by matrix products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def corners(x: Tensor, half: int) -> Tensor:
    """Return a view of the lower left quarters of the diagonal blocks of ``2 half`` rows.

    Shapes: ``(..., C, C)`` -> ``(..., C / (2 half), half, half)``.
    """
    return diagonal_blocks(x, 2 * half, 2 * half)[..., half:, :half]


def diagonal_blocks(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return a view of the diagonal blocks: ``(..., m rows, m columns)`` -> ``(..., m, rows, columns)``."""
    blocks = x.unflatten(-1, (-1, columns)).unflatten(-3, (-1, rows))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def unit_lower_inverse(lower: Tensor) -> Tensor:
    """Return ``(I + L)^{-1}`` for the part L of ``lower`` below the diagonal, which alone is read.

    The inverse of a block follows from those of its two diagonal halves::

        (P 0; X Q)^{-1} = (P^{-1} 0; -Q^{-1} X P^{-1} Q^{-1})

    so that log2(C) rounds of batched products replace forward substitution row by row. This is as accurate as
    substitution if no block of the inverse is larger than the inverse, which holds for products of
    contractions (delta rules).

    Args:
        lower: ``(..., C, C)`` with C a power of two, at least fp32.
    """
    inverse: Tensor = _Inverse.apply(lower)
    return inverse


class _Inverse(torch.autograd.Function):
    """The inverse T; its gradient is ``-T^T G T^T`` below the diagonal."""

    @staticmethod
    def forward(ctx: Any, lower: Tensor) -> Tensor:
        size = lower.shape[-1]
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        inverse = identity.expand_as(lower).clone(memory_format=torch.contiguous_format)
        half = 1
        while half < size:
            blocks = diagonal_blocks(inverse, 2 * half, 2 * half)
            upper, below = blocks[..., :half, :half], blocks[..., half:, half:]
            corners(inverse, half).copy_((below @ (corners(lower, half) @ upper)).neg_())
            half *= 2
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        turned = inverse.mT
        return (turned @ gradient @ turned).tril_(-1).neg_()
