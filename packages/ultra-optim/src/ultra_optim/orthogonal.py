"""Newton-Schulz orthogonalisation of many matrices at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Coefficients = tuple[float, float, float]
QUINTIC: Coefficients = (3.4445, -4.7750, 2.0315)
"""Keller Jordan's coefficients: five steps bring singular values from 0.01..1 to about 0.7..1.2."""

AdjustLR = Literal["match_rms_adamw", "original", "spectral"]


def orthogonalize(
    matrices: Tensor,
    *,
    steps: int = 5,
    coefficients: Coefficients = QUINTIC,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return approximately U V^T of every matrix G = U S V^T.

    X <- G / |G|_F, then ``steps`` times: A = X X^T, X <- a X + (b A + c A A) X

    Args:
        matrices: (batch, rows, columns) with rows <= columns.
        steps: iterations.
        coefficients: a, b, c.
        dtype: in which the products are done; see :func:`product_dtype`.

    Returns:
        (batch, rows, columns) in the dtype of the products; a zero matrix stays zero.
    """
    a, b, c = coefficients
    peak = matrices.abs().amax(dim=(-2, -1), keepdim=True)
    x = matrices / torch.where(peak > 0, peak, 1.0)  # squares of tiny gradients would vanish in the norm
    x /= torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(1e-7)  # 0 stays 0
    x = x.to(dtype or product_dtype(matrices))
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return bfloat16 for float32 on a GPU that multiplies it in hardware, else the tensor's own dtype."""
    if tensor.dtype == torch.float32 and tensor.device.type == "cuda":
        with torch.cuda.device(tensor.device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return torch.bfloat16
    return tensor.dtype


def rms_scale(rows: int, columns: int, adjust_lr_fn: AdjustLR) -> float:
    """Return the factor of the learning rate for a matrix of this shape."""
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    if adjust_lr_fn == "original":
        return math.sqrt(max(1.0, rows / columns))
    return math.sqrt(rows / columns)


def orthogonalize_(
    pieces: Sequence[Tensor], *, steps: int, coefficients: Coefficients, adjust_lr_fn: AdjustLR
) -> None:
    """Replace every (batch, rows, columns) view by its orthogonalised, rescaled self, one call per shape.

    A tall matrix is transposed for the iteration, so that it shares the call of its wide sister.
    """
    by_shape: dict[tuple[int, int], list[Tensor]] = {}
    for piece in pieces:
        wide = piece if piece.shape[-2] <= piece.shape[-1] else piece.mT
        by_shape.setdefault((wide.shape[-2], wide.shape[-1]), []).append(piece)
    for same in by_shape.values():
        wide = torch.cat([p if p.shape[-2] <= p.shape[-1] else p.mT for p in same])
        result = orthogonalize(wide, steps=steps, coefficients=coefficients)
        for piece, x in zip(same, result.split([p.shape[0] for p in same]), strict=True):
            rows, columns = piece.shape[-2:]
            piece.copy_(x if rows <= columns else x.mT).mul_(rms_scale(rows, columns, adjust_lr_fn))
