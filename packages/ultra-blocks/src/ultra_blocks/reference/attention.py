"""Softmax and sigmoid attention as the papers write them: one query at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State, concatenated, heads, linear, rms_norm
from ultra_blocks.reference.positions import bias_of, products


def multi_head(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    positions: Any,
    qk_norm: bool,
    causal: bool,
    window: int | None,
    softcap: float | None,
    bias: Tensor | None = None,
    normalised: bool = True,
) -> Tensor:
    """Return ``[softmax(q k^T / sqrt(d) + bias) v over heads]`` ``(T, D)`` of one document, before W_O.

    Shapes:
        x ``(T, D)``; ``bias``, added to that of the position code, ``(H, T, T)``.
    """
    q, k, v = queries_keys_values(x, state, num_heads, num_kv_heads or num_heads, qk_norm=qk_norm)
    S = products(q, k, positions) / math.sqrt(q.shape[-1])
    own = bias_of(positions, num_heads, len(x))
    B = bias if own is None else own if bias is None else own + bias
    y = attend(S, v, causal=causal, window=window, bias=B, softcap=softcap, normalised=normalised)
    return concatenated(y)


def queries_keys_values(
    x: Tensor, state: State, num_heads: int, num_kv_heads: int, *, qk_norm: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q ``(H, T, d)``, k and v ``(G, T, d)`` of ``qkv_proj``, whose rows are in this order."""
    d = x.shape[-1] // num_heads
    q, k, v = linear(x, state, "qkv_proj").split((num_heads * d, num_kv_heads * d, num_kv_heads * d), -1)
    q, k, v = heads(q, num_heads), heads(k, num_kv_heads), heads(v, num_kv_heads)
    if qk_norm:
        q, k = rms_norm(q, state["q_norm.weight"]), rms_norm(k, state["k_norm.weight"])
    return q, k, v


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    documents: Tensor,
    positions: Tensor,
    bias: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Return ``y_i = sum_j a_ij v_j`` over the keys of the query's document, zeros where ``documents`` is -1.

    Args:
        q: ``(B, H, T, d)``.
        k: ``(B, G, T, d)``.
        v: ``(B, G, T, e)``.
        documents: ``(B, T)``.
        positions: ``(B, T)``.
        bias: added to the scores, ``(B, H, T, T)``.
        options: those of :func:`attend`.
    """
    shared = q.shape[1] // k.shape[1]
    rows = []
    for b in range(len(q)):
        S = q[b] @ k[b].repeat_interleave(shared, 0).mT / math.sqrt(q.shape[-1])
        places: dict[str, Any] = {"documents": documents[b].tolist(), "positions": positions[b].tolist()}
        rows.append(attend(S, v[b], bias=None if bias is None else bias[b], **places, **options))
    return torch.stack(rows)


def attend(
    S: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
    documents: list[int] | None = None,
    positions: list[int] | None = None,
) -> Tensor:
    """Return ``y_i = sum_j a_ij v_j`` ``(H, T, e)`` of the scores S of one row.

    ``a_i`` is the softmax of the scores, or without ``normalised`` the sigmoid of each score less
    ``log n_i``, where n_i is the number of keys that token i attends to.

    Args:
        S: scaled scores ``(H, T, T)``.
        v: ``(G, T, e)``; H / G heads share one of them.
        causal: mask later keys.
        window: width of local attention.
        bias: added to the scores after the cap, ``(H, T, T)``.
        softcap: bound of the scores.
        normalised: softmax instead of sigmoids.
        documents: number of the document of each token, -1 at padding; None: one document.
        positions: position of each token; None: 0, 1, ...
    """
    length, v = S.shape[-1], v.repeat_interleave(len(S) // len(v), 0)
    documents = [0] * length if documents is None else documents
    positions = list(range(length)) if positions is None else positions
    y = []
    for i in range(length):
        seen = seen_by(i, documents, positions, window, causal)
        added = None if bias is None else bias[:, i, seen]
        y.append(read(S[:, i, seen], v[:, seen], added, softcap, normalised))
    return torch.stack(y, 1)


def read(
    s_i: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    softcap: float | None = None,
    normalised: bool = True,
) -> Tensor:
    """Return the outputs of a query, 0 if it sees no key.

    Shapes:
        scores ``(.., n)`` of n keys, their values ``(.., n, e)`` -> ``(.., e)``.
    """
    n = s_i.shape[-1]
    if n == 0:
        return v.sum(-2)
    s_i = capped(s_i, softcap)
    s_i = s_i if bias is None else s_i + bias
    a_i = torch.softmax(s_i, -1) if normalised else 1 / (1 + n * torch.exp(-s_i))
    return (a_i[..., None] * v).sum(-2)


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
        places = documents[b].tolist(), positions[b].tolist()
        for i in range(length):
            for j in seen_by(i, *places, window, causal):
                best = [max(best[h], float(logits[b, h, i, j])) for h in range(heads)]
    return torch.tensor(best, dtype=logits.dtype)


def seen_by(
    i: int, documents: list[int], positions: list[int], window: int | None, causal: bool
) -> list[int]:
    """Return the keys that token i of a row attends to."""
    return [
        j
        for j in range(len(documents))
        if documents[i] >= 0
        and documents[i] == documents[j]
        and not (causal and j > i)
        and near(positions[i] - positions[j], window, causal)
    ]


def capped(score: Tensor, softcap: float | None) -> Tensor:
    """Return ``softcap tanh(score / softcap)``, or the score if there is no cap."""
    return score if softcap is None else softcap * torch.tanh(score / softcap)


def near(distance: int, window: int | None, causal: bool) -> bool:
    """Whether a key ``distance`` positions back is inside the window."""
    return window is None or (distance <= window if causal else abs(distance) <= window // 2)
