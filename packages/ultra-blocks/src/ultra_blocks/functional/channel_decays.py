"""Products inside chunks between tokens whose channels decay each at a rate of its own. No parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.triangular import corners

SMALLEST = 4
"""Rows from which a batch of matrix products is faster than products and a sum."""


class Decayed(NamedTuple):
    """Products ``(..., C, C)`` and vectors ``(..., C, d)``, with sums of log decays in the exponents.

    Attributes:
        queries: ``sum_c q_ic k_jc exp(g_{j+1} + .. + g_i)_c`` for j <= i, else 0.
        keys: the same with k for q, for j < i, else 0.
        read: ``q_i exp(g_1 + .. + g_i)``, what reads over the left border.
        predict: the same with k.
        write: ``k_j exp(g_{j+1} + .. + g_C)``, what goes over the right border.
        span: ``exp(g_1 + .. + g_C)`` ``(..., d)``, what is left of the state.
    """

    queries: Tensor
    keys: Tensor
    read: Tensor
    predict: Tensor
    write: Tensor
    span: Tensor


def decayed_products(q: Tensor, k: Tensor, log_decay: Tensor) -> Decayed:
    """Return the products of queries and keys with earlier keys, faded by all decays in between.

    A chunk is halved until single tokens are left. On the way up two halves meet, and a pair across them
    fades by ``exp(g_{j+1} + .. + g_m) exp(g_{m+1} + .. + g_i)``, m being the last token of the left one. Both
    are sums of their own, built from those of the smaller halves: no exponent is positive, none is a
    difference, and -inf (forget everything) is as good as any. As many multiply-adds as ``q k^T``, and
    ``d log2(C)`` exponentials a token.

    Args:
        q: ``(..., C, d)``, C a power of two, at least fp32.
        k: the same.
        log_decay: the same, <= 0, -inf allowed.
    """
    return Decayed(*_Decayed.apply(q, k, log_decay))


def _halves(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Left and right halves of the blocks of ``2 half`` rows, views ``(..., C / (2 half), half, d)``."""
    left, right = x.unflatten(-2, (-1, 2, half)).unbind(-3)
    return left, right


def _products(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[-2] >= SMALLEST:
        return a @ b.mT
    return (a[..., :, None, :] * b[..., None, :, :]).sum(-1)


class _Decayed(torch.autograd.Function):
    """The gradient of the decays by hand: it is that of the vectors they multiply, times these vectors.

    A token as reader stands under the decays up to its own, so that these get ``x_i dx_i`` of all later
    readers; as writer under those after its own, so that they get ``k_j dk_j`` of all earlier writers, which
    is what all writers of the chunk give less what the later ones do.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, log_decay: Tensor) -> tuple[Tensor, ...]:
        size = q.shape[-2]
        until = log_decay.clone(memory_format=torch.contiguous_format)  # from the start of the block
        beyond = torch.zeros_like(until)  # to the end of the block, without the own one
        keys = q.new_zeros(*q.shape[:-1], size)
        queries = torch.diag_embed((q * k).sum(-1))
        fades, half = [], 1
        while half < size:
            (left, right), (ahead, _) = _halves(until, half), _halves(beyond, half)
            reach, source = right.exp(), ahead.exp()
            fades += [reach, source]
            (_, asking), (written, predicting) = _halves(q, half), _halves(k, half)
            written = written * source
            corners(queries, half).copy_(_products(asking * reach, written))
            corners(keys, half).copy_(_products(predicting * reach, written))
            ahead += right[..., -1:, :]
            right += left[..., -1:, :]
            half *= 2
        enter, leave = until.exp_(), beyond.exp_()
        ctx.save_for_backward(q, k, enter, leave, *fades)
        return queries, keys, q * enter, k * enter, k * leave, enter[..., -1, :].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        d_queries: Tensor,
        d_keys: Tensor,
        d_read: Tensor,
        d_predict: Tensor,
        d_write: Tensor,
        d_span: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, enter, leave, *fades = ctx.saved_tensors
        size = q.shape[-2]
        dq, reading, writing = d_read * enter, d_predict * enter, d_write * leave  # k as reader, as writer
        last = (k * writing).sum(-2) + d_span * enter[..., -1, :]
        half = 1
        while half < size:
            reach, source = fades[:2]
            fades = fades[2:]
            (_, asking), (written, predicting) = _halves(q, half), _halves(k, half)
            from_q, from_k = corners(d_queries, half), corners(d_keys, half)
            written = written * source
            _halves(dq, half)[1].addcmul_(from_q @ written, reach)
            _halves(reading, half)[1].addcmul_(from_k @ written, reach)
            back = from_q.mT @ (asking * reach) + from_k.mT @ (predicting * reach)
            _halves(writing, half)[0].addcmul_(back, source)
            half *= 2
        share = q * dq + k * (reading - writing)
        share[..., -1, :] += last
        d_decay = share.flip(-2).cumsum(-2).flip(-2)
        own = d_queries.diagonal(dim1=-2, dim2=-1)[..., None]
        return dq + own * k, reading + writing + own * q, d_decay
