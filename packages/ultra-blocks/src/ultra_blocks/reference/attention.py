"""Softmax attention as the paper writes it: one query, one head at a time."""

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
) -> Tensor:
    """Return ``y_i = sum_j a_ij v_j``, zeros where ``documents`` is -1.

    Shapes:
        q ``(B, H, T, d)``, k and v ``(B, G, T, d)``, documents and positions ``(B, T)``, bias
        ``(B, H, T, T)``.
    """
    batch, heads, length, width = q.shape
    shared = heads // k.shape[1]
    rows = []
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                seen = [
                    j
                    for j in range(length)
                    if documents[b, i] >= 0
                    and documents[b, i] == documents[b, j]
                    and not (causal and j > i)
                    and near(int(positions[b, i] - positions[b, j]), window, causal)
                ]
                added = None if bias is None else bias[b, h, i]
                g = h // shared
                rows.append(_read(q[b, h, i], k[b, g], v[b, g], seen, added, softcap))
    return torch.stack(rows).view(batch, heads, length, width)


def near(distance: int, window: int | None, causal: bool) -> bool:
    """Whether a key ``distance`` positions back lies inside the window."""
    return window is None or (distance <= window if causal else abs(distance) <= window // 2)


def _read(
    q_i: Tensor,
    k: Tensor,
    v: Tensor,
    seen: list[int],
    bias: Tensor | None,
    softcap: float | None,
) -> Tensor:
    if not seen:
        return torch.zeros_like(q_i)
    scores = []
    for j in seen:
        score = (q_i * k[j]).sum() / math.sqrt(len(q_i))
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        scores.append(score if bias is None else score + bias[j])
    weights = torch.softmax(torch.stack(scores), 0)
    return weights @ v[seen]
