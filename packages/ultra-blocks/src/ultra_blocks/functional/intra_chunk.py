"""Intra-chunk products of queries and keys whose channels decay at separate rates."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.intra_chunk_tree import block_of, product, readers_of, up_sweep, writers_of


class IntraChunk(NamedTuple):
    """Products ``(..., C, C)`` and vectors ``(..., C, d)`` of a chunk, with decays a applied.

    Attributes:
        scores: ``sum_c q_ic k_jc (a_{j+1} .. a_i)_c`` for j <= i, else 0.
        overlap: the same with k instead of q, for j < i, else 0.
        read: ``q_i (a_1 .. a_i)``, queries of the state that enters the chunk.
        predict: the same with k instead of q.
        write: ``k_j (a_{j+1} .. a_C)``, keys with which tokens write into the state that leaves the chunk.
    """

    scores: Tensor
    overlap: Tensor
    read: Tensor
    predict: Tensor
    write: Tensor


def decayed_products(q: Tensor, k: Tensor, log_decay: Tensor, *, reverse: bool = False) -> IntraChunk:
    """Return the products of queries and keys with earlier keys, times all decays in between.

    This takes as many multiply-adds as ``q k^T``, and one exponential per channel, of no positive number.

    Args:
        q: ``(..., C, d)``, C a power of two, at least fp32.
        k: the same.
        log_decay: the same, <= 0, -inf allowed.
        reverse: the scan runs from the end of the chunk to its start.
    """
    return IntraChunk(*_DecayedProducts.apply(q, k, log_decay, reverse))


class _DecayedProducts(torch.autograd.Function):
    """Queries and keys, both as readers, pass through the up-sweep together.

    The two rows of a token are adjacent, so that blocks of both are one matrix. The backward pass repeats the
    up-sweep and then sweeps down. The gradient of log a_t is the sum over all pairs with t between them,
    which is a cumulative sum of ``read * d_read - write * d_write``.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, log_decay: Tensor, reverse: bool) -> tuple[Tensor, ...]:
        decay = log_decay.exp()
        reading, writing = _pairs(q, k).mul_(decay[..., None, :]), k.clone()
        mixing = q.new_zeros(*q.shape[:-1], 2, q.shape[-2])
        mixing[..., 0, :].diagonal(dim1=-2, dim2=-1).copy_((q * k).sum(-1))
        rows = mixing.flatten(-3, -2)
        for pairs in up_sweep(reading.flatten(-3, -2), writing, decay, reverse=reverse):
            block_of(rows, pairs.size, reverse=reverse).copy_(product(pairs.read, pairs.write.mT))
        ctx.save_for_backward(q, k, log_decay, writing)
        ctx.reverse = reverse
        return *mixing.unbind(-2), *reading.unbind(-2), writing

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_scores: Tensor, d_overlap: Tensor, d_read: Tensor, d_predict: Tensor, d_write: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, log_decay, writing = ctx.saved_tensors
        reverse, decay = ctx.reverse, log_decay.exp()
        d_mixing = _pairs(d_scores, d_overlap).flatten(-3, -2)
        d_reading, d_writing = _pairs(d_read, d_predict), d_write.clone()
        d_rows = d_reading.flatten(-3, -2)
        carried = (writing * d_writing).sum(-2, keepdim=True)
        reading = _pairs(q, k).mul_(decay[..., None, :]).flatten(-3, -2)
        levels = [pairs.with_copies() for pairs in up_sweep(reading, k.clone(), decay, reverse=reverse)]
        for read, write, read_decay, write_decay in reversed(levels):  # down-sweep
            size = write.shape[-2]
            block = block_of(d_mixing, size, reverse=reverse)
            readers, writers = readers_of(d_rows, 2 * size, reverse), writers_of(d_writing, size, reverse)
            readers.mul_(read_decay).add_(product(block, write))
            writers.mul_(write_decay).add_(product(block.mT, read))
        d_q, d_k = d_reading.mul_(decay[..., None, :]).unbind(-2)
        share = torch.addcmul(q * d_q, k, d_k - d_writing)
        share = share.cumsum(-2) if reverse else share.flip(-2).cumsum(-2).flip(-2)
        own = d_scores.diagonal(dim1=-2, dim2=-1)[..., None]
        dk = d_writing.add_(d_k).addcmul_(own, q)
        return torch.addcmul(d_q, own, k), dk, share.add_(carried), None


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """Interleave the rows of two tensors: ``(..., C, d)`` -> ``(..., C, 2, d)``."""
    return torch.stack((a, b), -2)
