"""Gated linear attention: linear recurrences with a decay per key channel, computed in chunks.

Decays between the tokens of a chunk are built up on a tree (``intra_chunk_tree``): nothing overflows and
nothing is divided, however fast channels decay. No tensor has both a dimension of pairs and one of channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.chunks import from_chunks, inter_chunk_scan, to_chunks
from ultra_blocks.functional.intra_chunk_tree import block_of, product, readers_of, up_sweep, writers_of


def gated_linear(
    q: Tensor,
    keys: Sequence[Tensor],
    v: Tensor,
    log_decays: Sequence[Tensor],
    *,
    chunk_size: int = 128,
    documents: Tensor | None = None,
) -> Tensor:
    """Return ``y_t = q_t S_t`` with ``S_t = diag(exp(log_decay_t)) S_{t-1} + k_t^T v_t``, not scaled.

    With two keys and decays, the second ones belong to a scan from the end to the start, and ``y`` is the sum
    of both directions. The term of the token itself, ``(q_t . k_t) v_t``, counts once, with the mean key.

    Args:
        q: ``(B, T, H, d_k)``.
        keys: ``(B, T, H, d_k)`` of each of one or two directions; both may be the same tensor.
        v: ``(B, T, H, d_v)``, 0 at padding; large products take bf16 as it is and fp16 as fp32.
        log_decays: ``(B, T, H, d_k)`` of each direction, <= 0, -inf allowed, at least fp32.
        chunk_size: tokens of a chunk, rounded up to a power of two; half of that if it needs less padding.
        documents: ``(B, T)`` ids of contiguous documents, -1 at padding, which must come last. None: one
            document per row, possibly followed by padding.

    Shapes:
        y ``(B, T, H, d_v)`` in the dtype of the decays. Cost and memory linear in T.
    """
    length, exact = q.shape[1], log_decays[0].dtype
    limit = min(_power_of_two(chunk_size), _power_of_two(length))
    size = min(limit, max(limit // 2, 1), key=lambda size: -(-length // size) * size)  # least padding
    chunks = -(-length // size)
    work = torch.float32 if v.dtype == torch.float16 else v.dtype
    with torch.autocast(q.device.type, enabled=False):
        queries = to_chunks(q.to(exact), chunks, size)
        written = [to_chunks(k.to(exact), chunks, size) for k in keys[: 2 - (keys[0] is keys[-1])]]
        decays = [to_chunks(x, chunks, size) for x in log_decays]
        values = to_chunks(v.to(work), chunks, size)
        lanes = [x for i, decay in enumerate(decays) for x in (written[min(i, len(written) - 1)], decay)]
        mixing, *views = _IntraChunkProducts.apply(queries, *lanes)
        borders = None if documents is None else _borders(documents, chunks, size)
        if borders is not None:
            mixing = mixing.masked_fill(borders.pairs, 0.0)
        y = (mixing.to(work) @ values).to(exact)
        if chunks > 1:
            for i, decay in enumerate(decays):
                y = y + _across(views[2 * i], views[2 * i + 1], values, decay, borders, reverse=i == 1)
    return from_chunks(y, length)


def gated_step(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``y = q S'`` ``(B, H, d_v)`` and the state ``S' = diag(exp(log_decay)) S + k^T v`` of one token.

    Shapes: q, k, log_decay ``(B, H, d_k)``; v ``(B, H, d_v)``; memory, the state S, ``(B, H, d_k, d_v)``.
    """
    memory = log_decay.exp()[..., None] * memory + k[..., None] * v[..., None, :]
    return (q[..., None] * memory).sum(-2), memory


class _Borders(NamedTuple):
    """Which tokens of chunks belong to different documents.

    Attributes:
        pairs: ``(B, 1, n, C, C)``, two tokens of a chunk.
        left: ``(B, 1, n, C, 1)``, a token and the last one before its chunk.
        right: ``(B, 1, n, C, 1)``, a token and the last one of its chunk.
        cut: ``(B, 1, n, 1)``, the last token before a chunk and the last one of it.
    """

    pairs: Tensor
    left: Tensor
    right: Tensor
    cut: Tensor


def _borders(documents: Tensor, chunks: int, size: int) -> _Borders:
    ids = F.pad(documents, (1, chunks * size - documents.shape[1]), value=-1)[:, None]
    before, last = ids[..., :-1:size, None], ids[..., size::size, None]
    ids = ids[..., 1:].unflatten(-1, (chunks, size))
    return _Borders(
        ids[..., :, None] != ids[..., None, :],
        (ids != before)[..., None],
        (ids != last)[..., None],
        before != last,
    )


def _across(
    read: Tensor, write: Tensor, v: Tensor, log_decay: Tensor, borders: _Borders | None, *, reverse: bool
) -> Tensor:
    """Return the inter-chunk part of the output in one direction, ``(B, H, n, C, d_v)``."""
    spans = log_decay.sum(3)
    if borders is not None:
        near, far = (borders.right, borders.left) if reverse else (borders.left, borders.right)
        read, write = read.masked_fill(near, 0.0), write.masked_fill(far, 0.0)
        spans = spans.masked_fill(borders.cut, float("-inf"))
    states = (write.to(v.dtype).mT @ v).to(spans.dtype).transpose(2, 3)
    memory = inter_chunk_scan(states, spans.transpose(2, 3), reverse=reverse).transpose(2, 3)
    return (read.to(v.dtype) @ memory.to(v.dtype)).to(spans.dtype)


class _IntraChunkProducts(torch.autograd.Function):
    """Decayed products of the tokens of a chunk, and queries and keys decayed up to its borders.

    For j < i, ``A_ij = sum_c q_ic k_jc a_{j+1,c} .. a_ic``; the other direction gives the mirror image above
    the diagonal; on the diagonal is ``q_i . k_i``, with the mean of the keys of both directions. R and W are
    q and k times the decays up to the border at which the state enters and leaves the chunk.

    The backward pass is explicit, which saves most of the memory: q, k and W are saved and the up-sweep is
    repeated. The gradient of log a_t is the sum over all pairs with t between them, which is a cumulative sum
    of ``q dq - k dk``.

    Shapes: q, then k and log a of each direction, ``(B, H, n, C, d)``; returns A ``(B, H, n, C, C)``, then R
    and W of each direction, ``(B, H, n, C, d)``.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, *lanes: Tensor) -> tuple[Tensor, ...]:
        keys, log_decays = lanes[::2], lanes[1::2]
        A = q.new_zeros(*q.shape[:-1], q.shape[-2])
        mean = keys[0] if keys[0] is keys[-1] else (keys[0] + keys[-1]) / 2
        A.diagonal(dim1=-2, dim2=-1).copy_((q * mean).sum(-1))
        views = []
        for i, (k, log_a) in enumerate(zip(keys, log_decays, strict=True)):
            a = log_a.exp()
            R, W = q * a, k.clone()
            for pairs in up_sweep(R, W, a, reverse=i == 1):
                block_of(A, pairs.size, reverse=i == 1).copy_(product(pairs.read, pairs.write.mT))
            views += [R, W]
        ctx.save_for_backward(q, *lanes, *views[1::2])
        return A, *views

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dA: Tensor, *d_views: Tensor) -> tuple[Tensor, ...]:
        q, *saved = ctx.saved_tensors
        count = len(d_views) // 2
        dq, d_lanes = torch.zeros_like(q), []
        d_own = dA.diagonal(dim1=-2, dim2=-1)[..., None] / count
        for i in range(count):
            reverse = i == 1
            (k, log_a), W = saved[2 * i : 2 * i + 2], saved[2 * count + i]
            a, d_read, d_write = log_a.exp(), d_views[2 * i].clone(), d_views[2 * i + 1].clone()
            carried = (W * d_write).sum(-2, keepdim=True)
            levels = [pairs.with_copies() for pairs in up_sweep(q * a, k.clone(), a, reverse=reverse)]
            for read, write, read_decay, write_decay in reversed(levels):  # down-sweep
                size = read.shape[-2]
                d_block = block_of(dA, size, reverse=reverse)
                half_read, half_write = readers_of(d_read, size, reverse), writers_of(d_write, size, reverse)
                half_read.mul_(read_decay).add_(product(d_block, write))
                half_write.mul_(write_decay).add_(product(d_block.mT, read))
            d_read *= a
            across = (q * d_read).addcmul_(k, d_write, value=-1)
            across = across.cumsum(-2) if reverse else across.flip(-2).cumsum(-2).flip(-2)
            d_lanes += [d_write.addcmul_(d_own, q), across.add_(carried)]
            dq.add_(d_read).addcmul_(d_own, k)
        return dq, *d_lanes


def _power_of_two(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()
