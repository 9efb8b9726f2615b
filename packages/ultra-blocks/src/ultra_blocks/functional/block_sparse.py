"""Block-sparse attention of BigBird, in time and memory linear in the length."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.functional.document_attention import document_attention
from ultra_blocks.functional.document_blocks import DocumentBlocks, take_rows
from ultra_blocks.functional.softcap_attention import masked_softcap_attention

BITS = 0xFFFFFFFF


def random_blocks(
    block: Tensor, count: Tensor | None, seed: Tensor, heads: int, drawn: int
) -> tuple[Tensor, Tensor]:
    """Return the random links of a block of queries to blocks of its document, and a mask of valid links.

    They are sampled without replacement from the blocks that are not attended to anyway, which are the first,
    the last, the block itself and its neighbours. The sample is a hash of seed, head and block, so that it
    needs no table, sets no maximum length, and does not depend on the place of the document.

    Args:
        block: ``(...)``, index of the block of queries in its document.
        count: ``(...)``, number of blocks of the document; None: causal, links to earlier blocks only.
        seed: integer ``()``.
        heads: number of heads H; each has links of its own.
        drawn: number of links r.

    Shapes:
        returns ``(..., H, r)`` int64 and bool.
    """
    head = torch.arange(heads, device=block.device)
    hashed = _mixed(_mixed(_mixed(seed) ^ head) ^ block[..., None])
    below = (block - 2).clamp(min=0)[..., None]  # 1 .. block - 2
    above = torch.zeros_like(below) if count is None else (count - 3 - block).clamp(min=0)[..., None]
    free = (below + above).expand(hashed.shape)
    taken: list[Tensor] = []
    for number in range(drawn):  # Floyd's sampling: the last candidate replaces a repetition
        last = free - drawn + number
        draw = _mixed(hashed ^ (number + 1)) % (last + 1).clamp(min=1)
        repeated = torch.zeros_like(draw, dtype=torch.bool)
        for other in taken:
            repeated |= draw == other
        taken.append(torch.where(repeated, last, draw))
    chosen = torch.stack(taken, -1) if taken else hashed.new_empty(*hashed.shape, 0)
    below, turn = below[..., None], torch.arange(drawn, device=block.device)
    valid = free[..., None] - drawn + turn >= 0
    blocks = torch.where(chosen < below, 1 + chosen, block[..., None, None] + 2 + chosen - below)
    return torch.where(valid, blocks, 0), valid


def _mixed(x: Tensor) -> Tensor:
    """Hash integers below 2**32 to such integers."""
    for _ in range(2):
        x = ((x >> 16) ^ x) * 0x45D9F3B & BITS
    return (x >> 16) ^ x


def block_sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: DocumentBlocks,
    *,
    size: int,
    drawn: int,
    seed: Tensor,
    causal: bool,
    softcap: float | None = None,
) -> Tensor:
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` of blocks of queries over blocks of keys of their document.

    A block attends to itself, its neighbours, the first and the last block, and ``drawn`` random others; the
    first and the last block attend to all. Causal: to itself up to each token, the preceding block, the
    first, and ``drawn`` random others before it.

    Args:
        q: ``(B, H, L, d)``.
        k: ``(B, H, L, d)``.
        v: ``(B, H, L, d)``.
        blocks: positions of the documents, each of which starts at a multiple of ``size``.
        size: tokens of a block.
        drawn: number of random links.
        seed: see :func:`random_blocks`.
        causal: mask later keys.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, L, d)``; values at empty places are meaningless but finite.
    """
    heads, number = q.shape[1], q.shape[2] // size
    documents = blocks.layout.documents[:, ::size]  # (B, n), -1 at blocks without a token
    block = torch.where(documents >= 0, blocks.rank[:, ::size] // size, 0)
    counts = (blocks.lengths + size - 1) // size  # (B, S)
    count = counts.gather(1, documents.clamp(min=0))
    seen, valid = _plan(block, None if causal else count, seed, heads, drawn)  # (B, n, H, m)
    first = torch.arange(number, device=q.device) - block
    seen = (seen + first[..., None, None]).clamp(0, number - 1).transpose(1, 2)  # (B, H, n, m), in the row
    mask = blocks.layout.mask[:, None, :, None].expand(-1, heads, -1, -1)
    mask = _taken(mask, seen, size)[..., 0] & valid.transpose(1, 2)[..., None]  # (B, H, n, m, size)
    mask = mask[..., None, :, :]
    if causal:  # the first of these blocks is the block itself
        own = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()[:, None]
        mask = torch.cat([mask[..., :1, :] & own, mask[..., 1:, :].expand(*mask.shape[:3], size, -1, -1)], -2)
    mask = mask.flatten(-2)
    mask = mask | ~mask.any(-1, keepdim=True)  # no empty row for a block without a token
    keys, values = (_taken(x, seen, size).flatten(3, 4).flatten(0, 2)[:, None] for x in (k, v))
    queries = q.unflatten(2, (number, size))
    y = masked_softcap_attention(
        queries.flatten(0, 2)[:, None], keys, values, mask.flatten(0, 2)[:, None], softcap=softcap
    ).view(queries.shape)
    if not causal:
        ends = torch.stack([torch.zeros_like(counts), (counts - 1).clamp(min=0)], -1)
        places = blocks.starts[..., None] + ends * size  # (B, S, 2)
        is_end = (block == 0) | (block == count - 1)
        y = _with_ends(y, q, k, v, blocks, places, is_end=is_end, block=block, softcap=softcap)
    return y.flatten(2, 3)


def _taken(x: Tensor, seen: Tensor, size: int) -> Tensor:
    """Return the blocks ``(B, H, n, m, size, e)`` of x ``(B, H, L, e)`` at ``seen (B, H, n, m)``."""
    rows = x.unflatten(2, (-1, size)).flatten(3).flatten(0, 1)  # (B H, n, size e)
    return take_rows(rows, seen.flatten(2).flatten(0, 1)).view(*seen.shape, size, x.shape[-1])


def _with_ends(
    y: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: DocumentBlocks,
    places: Tensor,
    *,
    is_end: Tensor,
    block: Tensor,
    softcap: float | None,
) -> Tensor:
    """Return ``y`` ``(B, H, n, size, d)`` with full attention of first and last blocks (B, S, 2)."""
    size = y.shape[3]
    inside = (places[..., None] + torch.arange(size, device=q.device)).clamp(max=blocks.places - 1)
    index = inside.flatten(1)[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3])
    queries = q.gather(2, index).unflatten(2, (-1, 2 * size))  # (B, H, S, 2 size, d)
    rows = document_attention(queries, k, v, blocks, size, softcap=softcap)
    rows = rows.flatten(2, 3).unflatten(2, (-1, size)).flatten(3)  # (B, H, 2 S, size d)
    which = torch.where(is_end, 2 * blocks.layout.documents[:, ::size].clamp(min=0) + (block > 0), 0)
    read = rows.gather(2, which[:, None, :, None].expand(-1, q.shape[1], -1, rows.shape[-1]))
    return torch.where(is_end[:, None, :, None, None], read.view(y.shape), y)


def _plan(block: Tensor, count: Tensor | None, seed: Tensor, heads: int, drawn: int) -> tuple[Tensor, Tensor]:
    """Return the blocks ``(..., H, m)`` that a block attends to, itself first, and a mask of valid ones."""
    always = [block, block - 1, torch.zeros_like(block)]
    there = [block >= 0, block >= 1, block >= 2]
    if count is not None:
        always += [block + 1, count - 1]
        there += [block + 1 < count, block + 2 < count]
    chance, valid = random_blocks(block, count, seed, heads, drawn)
    fixed, known = (torch.stack(x, -1)[..., None, :].expand(*chance.shape[:-1], -1) for x in (always, there))
    return torch.cat([fixed, chance], -1), torch.cat([known, valid], -1)
