"""Softmax and sigmoid attention as the papers write them: one query, one head at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    documents: Tensor,
    positions: Tensor,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
) -> Tensor:
    """Return ``y_i = sum_j a_ij v_j``, zeros where ``documents`` is -1.

    ``a_i`` is the softmax of the scores, or without ``normalised`` the sigmoid of each score less
    ``log n_i``, where n_i is the number of keys that token i attends to.

    Shapes:
        q ``(B, H, T, d)``, k ``(B, G, T, d)``, v ``(B, G, T, e)``, documents and positions ``(B, T)``, bias
        ``(B, H, T, T)``.
    """
    batch, heads, length, _ = q.shape
    shared = heads // k.shape[1]
    rows = []
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                seen = seen_by(i, documents[b], positions[b], window, causal)
                added = None if bias is None else bias[b, h, i]
                g = h // shared
                rows.append(_read(q[b, h, i], k[b, g], v[b, g], seen, added, softcap, normalised))
    return torch.stack(rows).view(batch, heads, length, v.shape[-1])


def max_logits(
    logits: Tensor,
    *,
    documents: Tensor,
    positions: Tensor,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Return the maximum of ``logits`` ``(B, H, T, T)`` per head ``(H,)``, over pairs that attend."""
    batch, heads, length, _ = logits.shape
    best = [-math.inf] * heads
    for b in range(batch):
        for i in range(length):
            for j in seen_by(i, documents[b], positions[b], window, causal):
                best = [max(best[h], float(logits[b, h, i, j])) for h in range(heads)]
    return torch.tensor(best, dtype=logits.dtype)


def seen_by(i: int, documents: Tensor, positions: Tensor, window: int | None, causal: bool) -> list[int]:
    """Return the keys that token i of a row attends to; documents and positions are ``(T,)``."""
    return [
        j
        for j in range(len(documents))
        if documents[i] >= 0
        and documents[i] == documents[j]
        and not (causal and j > i)
        and near(int(positions[i] - positions[j]), window, causal)
    ]


def capped(score: Tensor, softcap: float | None) -> Tensor:
    """Return ``softcap tanh(score / softcap)``, or the score if there is no cap."""
    return score if softcap is None else softcap * torch.tanh(score / softcap)


def near(distance: int, window: int | None, causal: bool) -> bool:
    """Whether a key ``distance`` positions back is inside the window."""
    return window is None or (distance <= window if causal else abs(distance) <= window // 2)


def _read(
    q_i: Tensor,
    k: Tensor,
    v: Tensor,
    seen: list[int],
    bias: Tensor | None,
    softcap: float | None,
    normalised: bool,
) -> Tensor:
    if not seen:
        return torch.zeros_like(v[0])
    scores = []
    for j in seen:
        score = capped((q_i * k[j]).sum() / math.sqrt(len(q_i)), softcap)
        scores.append(score if bias is None else score + bias[j])
    s_i = torch.stack(scores)
    weights = torch.softmax(s_i, 0) if normalised else 1 / (1 + len(seen) * torch.exp(-s_i))
    return weights @ v[seen]
