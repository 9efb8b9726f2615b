"""Native sparse attention's choice: scores of compressed blocks, and the blocks of keys they point to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.attention import soft_capped


@dataclass(frozen=True)
class Choice:
    """How blocks of keys are chosen: ``count`` of ``size`` tokens, of which ``local`` are next to the query.

    ``window`` and ``stride`` are those of the compressed blocks that give the scores.
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
    """Return ``softmax(cap(q k^T / sqrt(d))) v`` over compressed keys, and the weights summed over a group.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, m, d)``, G dividing H.
        v: ``(B, G, m, d)``.
        allowed: ``(B, T or 1, m)`` bool; a query that may see nothing reads zeros.
        softcap: ``cap(s) = softcap tanh(s / softcap)``; None: no cap.

    Shapes:
        returns ``(B, H, T, d)``, and ``(B, G, T, m)`` without gradient.
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
def choose_blocks(
    weights: Tensor, rank: Tensor, block: Tensor, admissible: Tensor, choice: Choice
) -> tuple[Tensor, Tensor]:
    """Return the blocks that each query reads ``(B, G, T, n)``, and which of the n there are.

    A block's score is the sum of the weights of the compressed blocks that overlap it, each as often as they
    share a stride. The first block of the document and the ``local`` nearest come before all others.

    Args:
        weights: ``(B, G, T, m)`` of the compressed blocks, which begin at each stride of the row.
        rank: ``(B, T)`` number of the query in its document.
        block: ``(B, n')`` number of each block in its document.
        admissible: ``(B, T, n')`` bool, the blocks that a query may read.
        choice: how to choose.
    """
    shared, strides = choice.window // choice.stride, choice.size // choice.stride
    covering = F.pad(weights, (shared - 1, 0)).unfold(-1, shared, 1).sum(-1)  # of each stride
    scores = covering.unflatten(-1, (-1, strides)).sum(-1)
    away = block[:, None] - (rank // choice.size)[..., None]  # (B, T, n'), blocks from the query's own
    if choice.causal:
        order = -away
    else:  # own, then the nearer neighbour, the other one, and so on
        nearer = torch.where(2 * (rank % choice.size) < choice.size - 1, -1, 1)[..., None]
        order = 2 * away.abs() - (away.sign() == nearer).to(away.dtype)
    forced = (block == 0)[:, None] | ((order >= 0) & (order < choice.local))
    scores = scores.masked_fill(forced[:, None], float("inf"))
    scores = scores.masked_fill(~admissible[:, None], float("-inf"))
    best = scores.topk(min(choice.count, scores.shape[-1]), dim=-1)
    return best.indices, best.values > float("-inf")
