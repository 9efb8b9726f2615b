"""BigBird attention: the set of blocks that each block attends to, and then one query at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_blocks.reference.longformer_attn import ranks, read


def hash32(x: int) -> int:
    """Return a hash of an integer below 2**32."""
    for _ in range(2):
        x = ((x >> 16) ^ x) * 0x45D9F3B % 2**32
    return (x >> 16) ^ x


def random_links(block: int, count: int, seed: int, head: int, number: int, *, causal: bool) -> set[int]:
    """Return ``number`` random links of a block to blocks that it does not attend to anyway."""
    if causal:
        free = list(range(1, block - 1))
    else:
        free = [j for j in range(1, count - 1) if abs(j - block) > 1]
    hashed = hash32(hash32(hash32(seed) ^ head) ^ block)
    chosen: set[int] = set()
    for n in range(number):
        last = len(free) - number + n
        if last < 0:
            continue
        draw = hash32(hashed ^ (n + 1)) % (last + 1)
        chosen.add(last if draw in chosen else draw)
    return {free[n] for n in chosen}


def attended_blocks(block: int, count: int, seed: int, head: int, number: int, *, causal: bool) -> set[int]:
    """Return the blocks to which the tokens of a block attend."""
    if causal:
        near = {0, max(block - 1, 0), block}
    elif block in (0, count - 1):
        return set(range(count))
    else:
        near = {0, block - 1, block, block + 1, count - 1}
    return near | random_links(block, count, seed, head, number, causal=causal)


def bigbird(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    documents: Tensor,
    *,
    block_size: int,
    random_blocks: int,
    seed: int,
    causal: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Return the attention output ``(B, H, T, d)``, zeros where ``documents`` ``(B, T)`` is -1."""
    batch, heads, length, _ = q.shape
    rank = ranks(documents)
    y = []
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                mine = [
                    j for j in range(length) if documents[b, i] >= 0 and documents[b, i] == documents[b, j]
                ]
                block, count = rank[b][i] // block_size, -(-len(mine) // block_size)
                there = (
                    attended_blocks(block, count, seed, h, random_blocks, causal=causal) if mine else set()
                )
                seen = [j for j in mine if rank[b][j] // block_size in there and not (causal and j > i)]
                y.append(read(q[b, h, i], k[b, h], v[b, h], seen, softcap))
    return torch.stack(y).view(q.shape)
