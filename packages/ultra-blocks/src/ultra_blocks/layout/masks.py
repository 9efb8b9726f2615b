"""Boolean attention masks: which keys a query may attend to."""

from __future__ import annotations

import torch
from torch import Tensor


def key_mask(mask: Tensor) -> Tensor:
    """Return the mask ``(B, 1, 1, T)`` that hides padding keys from every query.

    In a row without a real token nothing is masked, so that no softmax has an empty row; callers set the
    output at padding queries to zero in any case.

    Shapes: mask ``(B, T)`` bool.
    """
    return (mask | ~mask.any(1, keepdim=True))[:, None, None, :]


def pair_mask(
    mask: Tensor,
    documents: Tensor,
    positions: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Return the mask ``(B, 1, T, T)`` of pairs of real tokens of one document.

    A padding query attends to itself only, so that no softmax has an empty row.

    Args:
        mask: ``(B, T)`` bool, True at real tokens.
        documents: ``(B, T)`` document ids.
        positions: ``(B, T)`` positions within the document, used by the window only.
        causal: mask later tokens.
        window: encoder: ``|p_i - p_j| <= window // 2``; causal: ``p_i - p_j <= window``. None: no limit.
    """
    length = mask.shape[1]
    seen = mask[:, None, :] & (documents[:, :, None] == documents[:, None, :])
    if window is not None:
        distance = positions[:, :, None] - positions[:, None, :]
        seen = seen & (distance <= window if causal else distance.abs() <= window // 2)
    if causal:
        seen = seen & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (seen | (itself & ~mask[:, :, None]))[:, None]


def visible_keys(
    mask: Tensor,
    documents: Tensor,
    positions: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Return how many keys each query attends to, ``(B, T)`` int64; some positive number at padding.

    These are the row sums of :func:`pair_mask`, in time linear in T if there is no window.
    """
    if window is not None:
        return pair_mask(mask, documents, positions, causal=causal, window=window)[:, 0].sum(-1)
    document = documents + 1  # padding is number 0
    counts = torch.zeros(len(mask), mask.shape[1] + 1, dtype=torch.int64, device=mask.device)
    counts = counts.scatter_add(1, document, torch.ones_like(document))
    if not causal:
        return counts.gather(1, document)
    counts[:, 0] = 0
    before = (counts.cumsum(1) - counts).gather(1, document)
    return (mask.cumsum(1) - before).clamp(min=1)
