"""Inner products whose channels fade with the distance of two tokens, each at a rate of its own."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 4
"""Tokens up to which all pairs are computed one by one."""


def clocks(documents: Tensor, positions: Tensor) -> Tensor:
    """Return one number a token ``(B, T)`` whose differences are those of positions inside a document.

    Documents stand 2^32 apart, so that products across them fade to nothing, and padding before all.

    Shapes: documents ``(B, T)``, -1 at padding, and positions ``(B, T)``, both int64.
    """
    return documents * 2**32 + torch.where(documents >= 0, positions, 0)


def fades(clock: Tensor, rates: Tensor) -> list[Tensor]:
    """Return the factors that :func:`faded_products` multiplies q and k with, from the smallest blocks up.

    A row is halved until ``SMALLEST`` tokens are left. On the way up two halves meet at the first token of
    the right one, m, and a pair across it fades by ``exp(-r (c_i - c_m)) exp(-r (c_m - c_j))``: no exponent
    is positive, however fast the rate and however far the tokens.

    Args:
        clock: ``(B or 1, T)`` int64, not decreasing along a row.
        rates: ``(d,)``, >= 0, at least fp32.

    Shapes:
        the first is ``(B or 1, 1, N, n, n, d)`` for N blocks of n tokens, the others
        ``(B or 1, 1, N, 2, h, d)`` for N pairs of halves of h tokens.
    """
    blocks, factors = clock[:, None, None], []
    while blocks.shape[-1] > SMALLEST:
        halves = _halves(blocks[..., None])[..., 0]
        distance = (halves - halves[..., 1:, :1]).abs()
        factors.append(torch.exp(-rates * distance[..., None].to(rates.dtype)))
        blocks = halves.flatten(2, 3)
    distance = (blocks[..., :, None] - blocks[..., None, :]).abs()
    factors.append(torch.exp(-rates * distance[..., None].to(rates.dtype)))
    return factors[::-1]


def faded_products(q: Tensor, k: Tensor, factors: list[Tensor], *, lower: bool = False) -> Tensor:
    """Return ``s_ij = sum_c q_ic k_jc exp(-r_c |c_i - c_j|)`` for all pairs of tokens.

    As many multiply-adds as ``q k^T``, in log2(T) batches of products, and ``2 log2(T)`` multiplications for
    each number of q and k.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, H, T, d)``.
        factors: from :func:`fades` for the same T.
        lower: leave zeros where j > i in some other block of four; saves half of the work.

    Shapes:
        returns ``(B, H, T, T)``.
    """
    return _block(q[:, :, None], k[:, :, None], factors, lower)[:, :, 0]


def _block(q: Tensor, k: Tensor, factors: list[Tensor], lower: bool) -> Tensor:
    """Products inside blocks: q and k ``(B, H, N, n, d)`` -> ``(B, H, N, n, n)``."""
    *below, factor = factors
    if not below:
        faded = (q[..., :, None, :] * factor).to(q.dtype)  # what each key meets of each query
        return (faded * k[..., None, :, :]).sum(-1)
    size = q.shape[-2]
    q, k = _halves(q), _halves(k)
    inner = _block(q.flatten(2, 3), k.flatten(2, 3), below, lower).unflatten(2, (-1, 2))
    q, k = (q * factor).to(q.dtype), (k * factor).to(k.dtype)
    back = q[..., 1, :, :] @ k[..., 0, :, :].mT
    ahead = torch.zeros_like(back) if lower else q[..., 0, :, :] @ k[..., 1, :, :].mT
    top = torch.cat((inner[..., 0, :, :], ahead.to(inner.dtype)), -1)
    bottom = torch.cat((back.to(inner.dtype), inner[..., 1, :, :]), -1)
    return torch.cat((top, bottom), -2)[..., :size, :size]


def _halves(x: Tensor) -> Tensor:
    """Cut ``(..., n, d)`` into ``(..., 2, h, d)``, the last token repeated where n is odd."""
    if x.shape[-2] % 2:
        x = torch.cat((x, x[..., -1:, :]), -2)
    return x.unflatten(-2, (2, -1))
