"""Longformer attention as the paper writes it, one query at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ultra_blocks.reference.attention import capped


def ranks(documents: Tensor) -> list[list[int]]:
    """Return the index of each token in its document ``(B, T)``, counting real tokens; -1 at padding."""
    counted = []
    for row in documents.tolist():
        counted.append([-1 if d < 0 else row[:i].count(d) for i, d in enumerate(row)])
    return counted


def read(q_i: Tensor, k: Tensor, v: Tensor, seen: list[int], softcap: float | None = None) -> Tensor:
    """Return ``softmax_j(cap(q_i k_j / sqrt(d))) v_j`` over some keys; zeros if there is none."""
    if not seen:
        return torch.zeros_like(q_i)
    scores = torch.stack([capped((q_i * k[j]).sum() / math.sqrt(len(q_i)), softcap) for j in seen])
    return scores.softmax(0) @ v[seen]


def longformer(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    documents: Tensor,
    *,
    window: int,
    global_tokens: int,
    rows: tuple[Tensor, Tensor, Tensor] | None = None,
    causal: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Return the attention output, zeros where ``documents`` ``(B, T)`` is -1.

    Shapes:
        q, k, v ``(B, H, T, d)``; ``rows`` are those of the global tokens' own projections, alike.
    """
    batch, heads, length, _ = q.shape
    rank = ranks(documents)
    y = []
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                mine = [
                    j for j in range(length) if documents[b, i] >= 0 and documents[b, i] == documents[b, j]
                ]
                if rows is not None and 0 <= rank[b][i] < global_tokens:
                    y.append(read(rows[0][b, h, i], rows[1][b, h], rows[2][b, h], mine, softcap))
                    continue
                seen = []
                for j in mine:
                    back = rank[b][i] - rank[b][j]
                    near = 0 <= back <= window if causal else abs(back) <= window // 2
                    leading = rank[b][j] < global_tokens and not (causal and back < 0)
                    if near or leading:
                        seen.append(j)
                y.append(read(q[b, h, i], k[b, h], v[b, h], seen, softcap))
    return torch.stack(y).view(q.shape)
