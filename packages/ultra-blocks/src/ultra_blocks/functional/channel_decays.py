"""Products inside chunks between tokens whose channels decay each at a rate of its own. No parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.decay_tree import block_of, climb, product, readers_of, writers_of


class Decayed(NamedTuple):
    """Products ``(..., C, C)`` and vectors ``(..., C, d)`` of a chunk, faded by decays a.

    Attributes:
        scores: ``sum_c q_ic k_jc (a_{j+1} .. a_i)_c`` for j <= i, else 0.
        overlap: the same with k for q, for j < i, else 0.
        read: ``q_i (a_1 .. a_i)``, what reads over the border where the chunk begins.
        predict: the same with k.
        write: ``k_j (a_{j+1} .. a_C)``, what goes over the other border.
    """

    scores: Tensor
    overlap: Tensor
    read: Tensor
    predict: Tensor
    write: Tensor


def decayed_products(q: Tensor, k: Tensor, log_decay: Tensor, *, reverse: bool = False) -> Decayed:
    """Return the products of queries and keys with earlier keys, faded by all decays in between.

    As many multiply-adds as ``q k^T``, and one exponential a channel, of nothing positive.

    Args:
        q: ``(..., C, d)``, C a power of two, at least fp32.
        k: the same.
        log_decay: the same, <= 0, -inf allowed.
        reverse: a chunk is read from its end to its start.
    """
    return Decayed(*_Decayed.apply(q, k, log_decay, reverse))


class _Decayed(torch.autograd.Function):
    """Queries and, as readers, keys climb the tree together. The gradient climbs it again, then down.

    The two rows of a token stand side by side, so that blocks of both are one matrix.

    What log a_t gets is the sum over all pairs with t between them, and so a sum of what readers from t on
    multiply into their own gradient, less what writers from t on do.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, log_decay: Tensor, reverse: bool) -> tuple[Tensor, ...]:
        decay = log_decay.exp()
        reading, writing = _pairs(q, k).mul_(decay[..., None, :]), k.clone()
        mixing = q.new_zeros(*q.shape[:-1], 2, q.shape[-2])
        mixing[..., 0, :].diagonal(dim1=-2, dim2=-1).copy_((q * k).sum(-1))
        rows = mixing.flatten(-3, -2)
        for meeting in climb(reading.flatten(-3, -2), writing, decay, reverse=reverse):
            block_of(rows, meeting.size, reverse=reverse).copy_(product(meeting.read, meeting.write.mT))
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
        met = [meeting.copied() for meeting in climb(reading, k.clone(), decay, reverse=reverse)]
        for read, write, read_decay, write_decay in reversed(met):  # from the root to the leaves
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
    """Two rows for each token, ``(..., C, d)`` -> ``(..., C, 2, d)``."""
    return torch.stack((a, b), -2)
