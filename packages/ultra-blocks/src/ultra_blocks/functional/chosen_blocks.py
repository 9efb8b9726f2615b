"""Attention of each query over blocks of keys of its own choice, in memory linear in the choices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ultra_blocks.functional.attention import soft_capped
from ultra_blocks.functional.document_blocks import take_rows

TILE = 32
"""Queries multiplied with a block of keys at a time."""


class Tiles(NamedTuple):
    """Choices sorted by block and cut into tiles of one block each.

    ``block`` ``(R, n)`` is the block of each tile, ``query`` ``(R, n TILE)`` the query of each slot (T where
    a tile is not full), ``slot`` ``(R, T, c)`` the slot of each choice (the last where there is no choice).
    """

    block: Tensor
    query: Tensor
    slot: Tensor


def tiles_of(chosen: Tensor, valid: Tensor, blocks: int) -> Tiles:
    """Sort choices ``(R, T, c)`` by block; how many tiles that takes is bounded without a look at them."""
    rows, length, each = chosen.shape
    pairs, device = length * each, chosen.device
    wanted = torch.where(valid, chosen, blocks).flatten(1)  # what is not valid comes last
    found, order = wanted.sort(dim=1, stable=True)
    counts = torch.zeros(rows, blocks + 1, dtype=torch.long, device=device)
    counts.scatter_add_(1, wanted, torch.ones_like(wanted))
    number = pairs // TILE + blocks
    full = (counts[:, :-1] + TILE - 1) // TILE
    ends = full.cumsum(1)  # tiles up to and with each block
    first = torch.cat([(ends - full) * TILE, torch.full_like(counts[:, :1], number * TILE)], 1)
    before = counts.cumsum(1) - counts
    within = torch.arange(pairs, device=device) - before.gather(1, found)
    slots = torch.where(found < blocks, first.gather(1, found) + within, number * TILE)
    slot = torch.empty_like(slots).scatter_(1, order, slots).view(chosen.shape)
    query = torch.full((rows, number * TILE + 1), length, device=device)
    query.scatter_(1, slots, order // each)
    here = torch.arange(number, device=device).expand(rows, -1).contiguous()
    block = torch.searchsorted(ends, here, right=True).clamp(max=blocks - 1)
    return Tiles(block, query[:, :-1], slot)


def chosen_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chosen: Tensor,
    valid: Tensor,
    real: Tensor,
    last: Tensor | None,
    size: int,
    *,
    softcap: float | None = None,
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the real tokens of the blocks that each query chose.

    Queries that chose the same block are multiplied with it together; what they read from their blocks is
    then weighed by the sums of each.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, L, d)``, G dividing H; all heads of a group read the same blocks.
        v: ``(B, G, L, d)``.
        chosen: ``(B, G, T, c)`` numbers of blocks in the row, each once.
        valid: ``(B, G, T, c)`` bool, the choices that there are; a query without any reads zeros.
        real: ``(B, L)`` bool.
        last: ``(B, T)`` the last place that each query may see; None: all.
        size: places of a block.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, d)``.
    """
    batch, groups, length, width = k.shape[0], k.shape[1], q.shape[2], q.shape[3]
    number = k.shape[2] // size
    wide = torch.promote_types(v.dtype, torch.float32)
    tiles = tiles_of(chosen.flatten(0, 1), valid.flatten(0, 1), number)
    rows = tiles.block.shape[0]
    asking = (q * width**-0.5).unflatten(1, (groups, -1)).flatten(0, 1).transpose(1, 2)  # (R, T, r, d)
    shared = asking.shape[2]
    asking = torch.cat([asking.flatten(2), asking.new_zeros(rows, 1, shared * width)], 1)
    asking = take_rows(asking, tiles.query).view(rows, -1, TILE * shared, width)

    keys, values = (_blocks_of(x.flatten(0, 1), tiles.block, size) for x in (k, v))  # (R, n, size, d)
    seen = _blocks_of(real.repeat_interleave(groups, 0)[..., None], tiles.block, size)[..., 0]
    seen = seen[:, :, None, None]  # (R, n, 1, 1, size)
    if last is not None:
        limit = torch.cat([last, torch.full_like(last[:, :1], k.shape[2])], 1).repeat_interleave(groups, 0)
        limit = limit.gather(1, tiles.query).view(rows, -1, TILE, 1, 1)
        place = tiles.block[..., None] * size + torch.arange(size, device=q.device)
        seen = seen & (place[:, :, None, None] <= limit)
    scores = (asking @ keys.transpose(-1, -2)).to(wide).unflatten(2, (TILE, shared))
    scores = soft_capped(scores, softcap).masked_fill(~seen, torch.finfo(wide).min)
    top = scores.detach().amax(-1)  # (R, n, TILE, r)
    weights = (scores - top[..., None]).exp() * seen
    read = (weights.to(v.dtype).flatten(2, 3) @ values).to(wide)

    slot = tiles.slot.flatten(1)
    tops = _by_choice(top.flatten(1, 2), slot, torch.finfo(wide).min).unflatten(1, (length, -1))
    scale = (tops - tops.amax(2, keepdim=True)).exp() * valid.flatten(0, 1)[..., None]  # (R, T, c, r)
    sums = _by_choice(weights.sum(-1).flatten(1, 2), slot).unflatten(1, (length, -1))
    reads = _by_choice(read.view(rows, -1, shared * width), slot)
    reads = reads.view(*scale.shape, width)
    total = (scale * sums).sum(2).clamp(min=torch.finfo(wide).tiny)
    y = torch.einsum("xtcr,xtcrd->xrtd", scale, reads) / total.transpose(1, 2)[..., None]
    return y.to(v.dtype).view(batch, -1, length, width)


def _blocks_of(x: Tensor, block: Tensor, size: int) -> Tensor:
    """Return the blocks ``(R, n, size, e)`` of ``(R, L, e)`` that ``block`` ``(R, n)`` names."""
    rows = x.unflatten(1, (-1, size)).flatten(2)
    return take_rows(rows, block).view(*block.shape, size, x.shape[-1])


def _by_choice(x: Tensor, slot: Tensor, nothing: float = 0.0) -> Tensor:
    """Return slots ``(R, s, e)`` as choices ``(R, T c, e)``; ``nothing`` where there is no choice."""
    x = torch.cat([x, x.new_full((x.shape[0], 1, x.shape[2]), nothing)], 1)
    return take_rows(x, slot)
