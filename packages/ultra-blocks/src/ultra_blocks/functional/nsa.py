"""Native sparse attention: compressed attention, the selection of key blocks, and attention over these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.attention import soft_capped
from ultra_blocks.functional.document_blocks import take_rows

TILE = 32
"""Number of queries that are multiplied with a block of keys at a time."""


@dataclass(frozen=True)
class Selection:
    """Parameters of the selection of key blocks.

    Attributes:
        size: tokens of a selected block.
        count: number of selected blocks.
        local: number of blocks nearest to the query that are always selected.
        window: tokens of a compressed block, whose attention weights give the scores.
        stride: tokens from the start of one compressed block to the next.
        causal: select no block that starts after the query.
    """

    size: int
    count: int
    local: int
    window: int
    stride: int
    causal: bool


def compressed_attention(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, *, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over compressed keys, and the weights summed over heads.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, m, d)``, G dividing H.
        v: ``(B, G, m, d)``.
        allowed: ``(B, T or 1, m)`` bool; the output of a query without an allowed key is zero.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, d)``, and the weights ``(B, G, T, m)`` summed over each group, without gradient.
    """
    groups, length = k.shape[1], q.shape[2]
    wide = torch.promote_types(v.dtype, torch.float32)
    grouped = (q * q.shape[-1] ** -0.5).unflatten(1, (groups, -1)).flatten(2, 3)  # (B, G, r T, d)
    scores = (grouped @ k.transpose(-1, -2)).to(wide).unflatten(2, (-1, length))  # (B, G, r, T, m)
    allowed = allowed[:, None, None]
    weights = soft_capped(scores, softcap).masked_fill(~allowed, torch.finfo(wide).min).softmax(-1) * allowed
    y = (weights.to(v.dtype).flatten(2, 3) @ v).unflatten(2, (-1, length)).flatten(1, 2)
    return y, weights.detach().sum(2)


@torch.no_grad()
def select_blocks(
    weights: Tensor, rank: Tensor, block: Tensor, admissible: Tensor, selection: Selection
) -> tuple[Tensor, Tensor]:
    """Return the blocks selected for each query ``(B, G, T, n)``, and a mask of the valid ones.

    The score of a block is the sum of the weights of the compressed blocks that overlap it, each counted once
    for every stride that they share. The first block of the document and the ``local`` nearest blocks have
    priority.

    Args:
        weights: ``(B, G, T, m)`` of the compressed blocks, which start at every stride of the row.
        rank: ``(B, T)`` index of the query among the real tokens of its document.
        block: ``(B, n')`` index of each block in its document.
        admissible: ``(B, T, n')`` bool, the blocks that a query may attend to.
        selection: parameters of the selection.
    """
    shared, strides = selection.window // selection.stride, selection.size // selection.stride
    covering = F.pad(weights, (shared - 1, 0)).unfold(-1, shared, 1).sum(-1)  # of each stride
    scores = covering.unflatten(-1, (-1, strides)).sum(-1)
    away = block[:, None] - (rank // selection.size)[..., None]  # (B, T, n'), blocks from the query's own
    if selection.causal:
        order = -away
    else:  # own block, then the nearer neighbour, the other one, and so on
        nearer = torch.where(2 * (rank % selection.size) < selection.size - 1, -1, 1)[..., None]
        order = 2 * away.abs() - (away.sign() == nearer).to(away.dtype)
    forced = (block == 0)[:, None] | ((order >= 0) & (order < selection.local))
    scores = scores.masked_fill(forced[:, None], float("inf"))
    scores = scores.masked_fill(~admissible[:, None], float("-inf"))
    best = scores.topk(min(selection.count, scores.shape[-1]), dim=-1)
    return best.indices, best.values > float("-inf")


class BlockTiles(NamedTuple):
    """Selected (query, block) pairs sorted by block and divided into tiles of one block each.

    Attributes:
        block: ``(R, n)``, block of each tile.
        query: ``(R, n TILE)``, query in each slot; T in empty slots.
        slot: ``(R, T, c)``, slot of each pair; the number of slots for invalid pairs.
    """

    block: Tensor
    query: Tensor
    slot: Tensor


def tiles_of(selected: Tensor, valid: Tensor, blocks: int) -> BlockTiles:
    """Sort selected blocks ``(R, T, c)``; the number of tiles is a bound that reads no values."""
    rows, length, each = selected.shape
    pairs, device = length * each, selected.device
    wanted = torch.where(valid, selected, blocks).flatten(1)  # invalid pairs come last
    found, order = wanted.sort(dim=1, stable=True)
    counts = torch.zeros(rows, blocks + 1, dtype=torch.long, device=device)
    counts.scatter_add_(1, wanted, torch.ones_like(wanted))
    number = pairs // TILE + blocks
    full = (counts[:, :-1] + TILE - 1) // TILE
    ends = full.cumsum(1)  # tiles up to and including each block
    first = torch.cat([(ends - full) * TILE, torch.full_like(counts[:, :1], number * TILE)], 1)
    before = counts.cumsum(1) - counts
    within = torch.arange(pairs, device=device) - before.gather(1, found)
    slots = torch.where(found < blocks, first.gather(1, found) + within, number * TILE)
    slot = torch.empty_like(slots).scatter_(1, order, slots).view(selected.shape)
    query = torch.full((rows, number * TILE + 1), length, device=device)
    query.scatter_(1, slots, order // each)
    here = torch.arange(number, device=device).expand(rows, -1).contiguous()
    block = torch.searchsorted(ends, here, right=True).clamp(max=blocks - 1)
    return BlockTiles(block, query[:, :-1], slot)


def selected_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    selected: Tensor,
    valid: Tensor,
    real: Tensor,
    last: Tensor | None,
    size: int,
    *,
    softcap: float | None = None,
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over the real tokens of the blocks selected for each query.

    Queries that share a block are multiplied with it together. The outputs of the blocks of a query are then
    combined with the sums of their softmax terms, as in flash attention. Memory is linear in the number of
    selected blocks.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, L, d)``, G dividing H; all heads of a group attend to the same blocks.
        v: ``(B, G, L, d)``.
        selected: ``(B, G, T, c)``, distinct indices of blocks in the row.
        valid: ``(B, G, T, c)`` bool, which of these count; the output of a query without any is zero.
        real: ``(B, L)`` bool, True at real tokens.
        last: ``(B, T)``, last column that each query may attend to; None: all.
        size: tokens of a block.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, d)``.
    """
    batch, groups, length, width = k.shape[0], k.shape[1], q.shape[2], q.shape[3]
    number = k.shape[2] // size
    wide = torch.promote_types(v.dtype, torch.float32)
    tiles = tiles_of(selected.flatten(0, 1), valid.flatten(0, 1), number)
    rows = tiles.block.shape[0]
    queries = (q * width**-0.5).unflatten(1, (groups, -1)).flatten(0, 1).transpose(1, 2)  # (R, T, r, d)
    shared = queries.shape[2]
    queries = torch.cat([queries.flatten(2), queries.new_zeros(rows, 1, shared * width)], 1)
    queries = take_rows(queries, tiles.query).view(rows, -1, TILE * shared, width)

    keys, values = (_blocks_of(x.flatten(0, 1), tiles.block, size) for x in (k, v))  # (R, n, size, d)
    seen = _blocks_of(real.repeat_interleave(groups, 0)[..., None], tiles.block, size)[..., 0]
    seen = seen[:, :, None, None]  # (R, n, 1, 1, size)
    if last is not None:
        limit = torch.cat([last, torch.full_like(last[:, :1], k.shape[2])], 1).repeat_interleave(groups, 0)
        limit = limit.gather(1, tiles.query).view(rows, -1, TILE, 1, 1)
        place = tiles.block[..., None] * size + torch.arange(size, device=q.device)
        seen = seen & (place[:, :, None, None] <= limit)
    scores = (queries @ keys.transpose(-1, -2)).to(wide).unflatten(2, (TILE, shared))
    scores = soft_capped(scores, softcap).masked_fill(~seen, torch.finfo(wide).min)
    top = scores.detach().amax(-1)  # (R, n, TILE, r)
    weights = (scores - top[..., None]).exp() * seen
    read = (weights.to(v.dtype).flatten(2, 3) @ values).to(wide)

    slot = tiles.slot.flatten(1)
    tops = _by_pair(top.flatten(1, 2), slot, torch.finfo(wide).min).unflatten(1, (length, -1))
    scale = (tops - tops.amax(2, keepdim=True)).exp() * valid.flatten(0, 1)[..., None]  # (R, T, c, r)
    sums = _by_pair(weights.sum(-1).flatten(1, 2), slot).unflatten(1, (length, -1))
    reads = _by_pair(read.view(rows, -1, shared * width), slot)
    reads = reads.view(*scale.shape, width)
    total = (scale * sums).sum(2).clamp(min=torch.finfo(wide).tiny)
    y = torch.einsum("xtcr,xtcrd->xrtd", scale, reads) / total.transpose(1, 2)[..., None]
    return y.to(v.dtype).view(batch, -1, length, width)


def _blocks_of(x: Tensor, block: Tensor, size: int) -> Tensor:
    """Return the blocks ``(R, n, size, e)`` of ``(R, L, e)`` with the indices ``block`` ``(R, n)``."""
    rows = x.unflatten(1, (-1, size)).flatten(2)
    return take_rows(rows, block).view(*block.shape, size, x.shape[-1])


def _by_pair(x: Tensor, slot: Tensor, fill: float = 0.0) -> Tensor:
    """Return slots ``(R, s, e)`` by (query, block) pair ``(R, T c, e)``; ``fill`` for invalid pairs."""
    x = torch.cat([x, x.new_full((x.shape[0], 1, x.shape[2]), fill)], 1)
    return take_rows(x, slot)
