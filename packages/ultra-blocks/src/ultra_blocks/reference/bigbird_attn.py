"""BigBird attention (arXiv:2007.14062): the blocks that each block attends to, then one query at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import queries_keys_values, read
from ultra_blocks.reference.layers import State, concatenated, linear
from ultra_blocks.reference.positions import products


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


def bigbird_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    block_size: int,
    random_blocks: int,
    positions: Any,
    qk_norm: bool,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return attention between blocks of tokens, whose random links follow from the buffer ``plan_seed``."""
    q, k, v = queries_keys_values(x, state, num_heads, num_heads, qk_norm=qk_norm)
    S = products(q, k, positions) / math.sqrt(q.shape[-1])
    seed, count = int(state["plan_seed"]), -(-len(x) // block_size)
    y = []
    for h in range(num_heads):
        for i in range(len(x)):
            blocks = attended_blocks(i // block_size, count, seed, h, random_blocks, causal=causal)
            seen = [j for j in range(len(x)) if j // block_size in blocks and not (causal and j > i)]
            y.append(read(S[h, i, seen], v[h, seen], softcap=softcap))
    return linear(concatenated(torch.stack(y).view(num_heads, len(x), -1)), state, "out_proj")
