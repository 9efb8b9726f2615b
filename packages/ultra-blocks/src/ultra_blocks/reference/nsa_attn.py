"""Native sparse attention as the paper writes it: one query at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ultra_blocks.functional.nsa import Selection
from ultra_blocks.reference.attention import capped
from ultra_blocks.reference.longformer_attn import read

Compress = Callable[[Tensor, int, int], Tensor]
"""``compress(tokens (m, d), row, column)``: one vector of m tokens, the first of which is at ``column``."""


def nsa(
    q: Tensor,
    branches: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    gates: Tensor,
    compress: tuple[Compress, Compress],
    documents: Tensor,
    *,
    selection: Selection,
    window: int,
    softcap: float | None = None,
) -> Tensor:
    """Return the attention output ``(B, H, T, d)``, zeros where ``documents`` ``(B, T)`` is -1.

    Shapes:
        q ``(B, H, T, d)``; keys and values ``(B, G, T, d)`` of the compressed branch (before compression), of
        the selected one and of the window; gates ``(B, T, 3, H)``.
    """
    y = torch.zeros_like(q)
    batch, heads, length, _ = q.shape
    groups = branches[0][0].shape[1]
    shared = heads // groups
    for b in range(batch):
        for document in {d for d in documents[b].tolist() if d >= 0}:
            tokens = [i for i in range(length) if documents[b, i] == document]
            for g in range(groups):
                small = _compressed(branches[0], compress, tokens, b, g, selection)
                for rank, i in enumerate(tokens):
                    mine = range(g * shared, (g + 1) * shared)
                    where = (b, g, i, rank)
                    y = _written(
                        y, q, branches, gates, small, tokens, where, mine, selection, window, softcap
                    )
    return y


def _compressed(
    branch: tuple[Tensor, Tensor],
    compress: tuple[Compress, Compress],
    tokens: list[int],
    b: int,
    g: int,
    selection: Selection,
) -> tuple[list[int], Tensor, Tensor]:
    """Return the rank of the first token of each compressed block, their keys and their values."""
    starts = list(range(0, len(tokens), selection.stride))
    made = []
    for x, make in zip(branch, compress, strict=True):
        blocks = [tokens[s : s + selection.window] for s in starts]
        made.append(torch.stack([make(x[b, g][block], b, block[0]) for block in blocks]))
    return starts, made[0], made[1]


def _written(
    y: Tensor,
    q: Tensor,
    branches: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    gates: Tensor,
    small: tuple[list[int], Tensor, Tensor],
    tokens: list[int],
    where: tuple[int, int, int, int],
    heads: range,
    selection: Selection,
    window: int,
    softcap: float | None,
) -> Tensor:
    """Return ``y`` with the output of the heads of a group at one token: row, group, column, rank."""
    b, g, i, rank = where
    starts, keys, values = small
    usable = [m for m, s in enumerate(starts) if not selection.causal or s + selection.window - 1 <= rank]
    scores = torch.zeros(-(-len(tokens) // selection.size), dtype=q.dtype)
    for h in heads:
        weights = torch.softmax(capped(q[b, h, i] @ keys[usable].T * q.shape[-1] ** -0.5, softcap), 0)
        for weight, m in zip(weights.detach(), usable, strict=True):
            for covered in range(starts[m], starts[m] + selection.window, selection.stride):
                if covered // selection.size < len(scores):
                    scores[covered // selection.size] += weight
    chosen = selected_blocks(scores, rank, selection)
    readable = [
        j
        for r, j in enumerate(tokens)
        if r // selection.size in chosen and not (selection.causal and r > rank)
    ]
    near = [
        j
        for r, j in enumerate(tokens)
        if (0 <= rank - r <= window if selection.causal else abs(rank - r) <= window // 2)
    ]
    y = y.clone()
    for h in heads:
        far = read(q[b, h, i], keys, values, usable, softcap)
        picked = read(q[b, h, i], branches[1][0][b, g], branches[1][1][b, g], readable, softcap)
        close = read(q[b, h, i], branches[2][0][b, g], branches[2][1][b, g], near, softcap)
        y[b, h, i] = gates[b, i, 0, h] * far + gates[b, i, 1, h] * picked + gates[b, i, 2, h] * close
    return y


def selected_blocks(scores: Tensor, rank: int, selection: Selection) -> set[int]:
    """Return the first block, the nearest ones, and those with the largest scores."""
    own, within = divmod(rank, selection.size)
    there = range(own + 1) if selection.causal else range(len(scores))
    if selection.causal:
        near = [own - n for n in range(selection.local)]
    else:
        side = -1 if within < (selection.size - 1) / 2 else 1
        near = sorted(range(-selection.local, selection.local + 1), key=lambda n: (abs(n), n * side < 0))
        near = [own + n for n in near[: selection.local]]
    always = {0, *near} & set(there)
    best = sorted(set(there) - always, key=lambda n: -float(scores[n]))
    return always | set(best[: selection.count - len(always)])
