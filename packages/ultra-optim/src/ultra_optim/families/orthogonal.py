"""Newton-Schulz orthogonalisation of many matrices at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from typing import Literal, cast

import torch
from torch import Tensor

Coefficients = tuple[float, float, float]
QUINTIC: Coefficients = (3.4445, -4.7750, 2.0315)
"""Keller Jordan's coefficients: five iterations map singular values in 0.01..1 to about 0.7..1.2."""

ALMOST_ORTHOGONAL: tuple[Coefficients, ...] = (
    (4.6051, -9.6552, 5.6769),
    (4.7505, -6.0861, 2.1790),
    (2.7763, -2.3190, 0.5523),
    (2.4231, -2.2861, 0.8193),
)
"""The coefficients of Turbo-Muon's four iterations, for matrices whose rows were rescaled first."""

STEPS_AT_ONCE = 3
"""Iterations on X X^T before X is computed again, for matrices at least twice as wide as high: as accurate as
single iterations in float32, with two thirds of the operations for a width of four times the height."""

AdjustLR = Literal["match_rms_adamw", "original", "spectral"]


def orthogonalize(
    matrices: Tensor,
    *,
    steps: int = 5,
    coefficients: Coefficients | Sequence[Coefficients] = QUINTIC,
    rescale_rows: bool = False,
    eps: float = 0.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return approximately U V^T of every matrix G = U S V^T.

    X <- G / (|G|_F + eps), then ``steps`` times: A = X X^T, X <- a X + (b A + c A A) X

    Args:
        matrices: ``(batch, rows, columns)`` with rows <= columns.
        steps: number of iterations.
        coefficients: a, b, c; or several of them, one for each iteration, of which the last is repeated.
        rescale_rows: first divide row i by the root of sum_j |A_ij|, which makes almost orthogonal rows more
            orthogonal. The result is the polar factor of the rescaled matrix.
        eps: added to |G|_F, so that tiny matrices stay small; with ``rescale_rows``, which removes any factor
            of X, the smallest sum_j |(G G^T)_ij|. With 0 the result does not depend on the norm of G.
        dtype: dtype of the matrix products; see :func:`product_dtype`.

    Returns:
        ``(batch, rows, columns)`` in the dtype of the products; a zero matrix stays zero.
    """
    peak = matrices.abs().amax(dim=(-2, -1), keepdim=True)
    unit = torch.where(peak > 0, peak, 1.0)  # the squares of tiny gradients would underflow in the norm
    x = matrices / unit
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    x /= (norm if eps == 0 or rescale_rows else norm + eps / unit).clamp_min(1e-7)  # 0 stays 0
    x = x.to(dtype or product_dtype(matrices))
    gram = x @ x.mT
    if rescale_rows:
        sums = gram.abs().sum(-1, keepdim=True)
        if eps > 0:
            sums = torch.maximum(sums, (eps / (norm * unit) ** 2).to(sums.dtype))
        scale = torch.where(sums > 0, sums, 1.0).rsqrt()
        x, gram = x * scale, gram * scale * scale.mT
    iterations = list(schedule(coefficients, steps))
    at_once = STEPS_AT_ONCE if x.shape[-1] >= 2 * x.shape[-2] and x.dtype.itemsize >= 4 else 1
    for start in range(0, len(iterations), at_once):
        if start:
            gram = x @ x.mT
        x = iterate(x, gram, iterations[start : start + at_once])
    return x


def iterate(x: Tensor, gram: Tensor, iterations: Sequence[Coefficients]) -> Tensor:
    """Return X after some iterations, whose polynomials in A = X X^T are multiplied with each other first.

    A step X <- P X gives A <- P A P, which are small products for a wide X. The errors of small eigenvalues
    of A grow with the number of iterations: use few at a time, in at least float32.

    Args:
        x: ``(batch, rows, columns)``.
        gram: A of x, ``(batch, rows, rows)``.
        iterations: a, b, c of each iteration.
    """
    product: Tensor | None = None
    for a, b, c in iterations[:-1]:
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    a, b, c = iterations[-1]
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    if product is None:
        return torch.baddbmm(x, polynomial, x, beta=a)
    return torch.baddbmm(product, polynomial, product, beta=a) @ x


def schedule(coefficients: Coefficients | Sequence[Coefficients], steps: int) -> Iterable[Coefficients]:
    """Yield the coefficients of each of the iterations."""
    if isinstance(coefficients[0], (int, float)):
        return repeat(cast(Coefficients, coefficients), steps)
    several = cast(Sequence[Coefficients], coefficients)
    return islice([*several, *repeat(several[-1], max(0, steps - len(several)))], steps)


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return bfloat16 for float32 on a GPU with bfloat16 matrix products, else the dtype of the tensor."""
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
    pieces: Sequence[Tensor],
    *,
    steps: int,
    coefficients: Coefficients | Sequence[Coefficients],
    adjust_lr_fn: AdjustLR,
    rescale_rows: bool = False,
    eps: float = 0.0,
) -> None:
    """Orthogonalise and scale every ``(batch, rows, columns)`` view in place, one call for each shape.

    Tall matrices are transposed for the iteration, so that they share calls with wide ones.
    """
    by_shape: dict[tuple[int, int], list[Tensor]] = {}
    for piece in pieces:
        wide = piece if piece.shape[-2] <= piece.shape[-1] else piece.mT
        by_shape.setdefault((wide.shape[-2], wide.shape[-1]), []).append(piece)
    for same in by_shape.values():
        wide = torch.cat([p if p.shape[-2] <= p.shape[-1] else p.mT for p in same])
        result = orthogonalize(
            wide, steps=steps, coefficients=coefficients, rescale_rows=rescale_rows, eps=eps
        )
        for piece, x in zip(same, result.split([p.shape[0] for p in same]), strict=True):
            rows, columns = piece.shape[-2:]
            piece.copy_(x if rows <= columns else x.mT).mul_(rms_scale(rows, columns, adjust_lr_fn))
