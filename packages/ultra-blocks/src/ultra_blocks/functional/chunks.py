"""Division of sequences into chunks, and the inter-chunk scan that carries states across them.

A linear recurrence is computed as intra-chunk products plus one state per chunk. The states in turn obey a
recurrence over chunks, which :func:`inter_chunk_scan` solves with a matrix of decays for up to ``GROUP``
chunks and recursively by groups beyond, so that nothing loops over time and cost is linear in the length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GROUP = 32
"""Number of chunks whose states one matrix of decays connects."""


def split_length(length: int, chunk_size: int) -> tuple[int, int]:
    """Return ``(n, C)``, the number and size of chunks, with ``n * C >= length`` and little padding.

    Up to twice ``chunk_size`` tokens form one chunk, since that is cheaper than computing states.
    """
    if length <= 2 * chunk_size:
        return 1, max(length, 1)
    chunks = -(-length // chunk_size)
    return chunks, -(-length // chunks)


def to_chunks(x: Tensor, chunks: int, size: int) -> Tensor:
    """Return ``(B, T, H, d)`` as contiguous chunks ``(B, H, n, C, d)``, the last one padded with zeros."""
    batch, length, heads, width = x.shape
    x = F.pad(x.transpose(1, 2), (0, 0, 0, chunks * size - length))
    return x.reshape(batch, heads, chunks, size, width).contiguous()


def from_chunks(x: Tensor, length: int) -> Tensor:
    """Return ``(B, H, n, C, d)`` as ``(B, T, H, d)``, the inverse of :func:`to_chunks`."""
    return x.flatten(2, 3)[:, :, :length].transpose(1, 2)


def inter_chunk_scan(states: Tensor, log_spans: Tensor, *, reverse: bool = False) -> Tensor:
    """Return the state that enters each chunk from the chunks before it (``reverse``: after it).

    ``S_c = sum_{m < c} exp(sum_{m < f < c} log_spans_f) states_m``, the exclusive scan of
    ``S_{c+1} = exp(log_spans_c) S_c + states_c``.

    Args:
        states: ``(..., n, X)``, contribution of each chunk to the state at its end; at least fp32.
        log_spans: ``(..., n)``, log of the decay across a whole chunk, <= 0; -inf resets the state.
        reverse: scan from the end to the start.

    Shapes:
        Leading dimensions broadcast; the result is ``(..., n, X)``.
    """
    chunks = states.shape[-2]
    if chunks <= GROUP:
        return _crossing(log_spans, reverse) @ states
    groups = -(-chunks // GROUP)
    size = -(-chunks // groups)
    missing = groups * size - chunks
    states = F.pad(states, (0, 0, 0, missing)).unflatten(-2, (groups, size))
    log_spans = F.pad(log_spans, (0, missing)).unflatten(-1, (groups, size))
    from_left, to_right = _until(log_spans), _until(log_spans.flip(-1)).flip(-1)
    enter, leave = (to_right, from_left) if reverse else (from_left, to_right)
    inside = _crossing(log_spans, reverse) @ states
    totals = (leave.exp()[..., None, :] @ states).squeeze(-2)
    outside = inter_chunk_scan(totals, log_spans.sum(-1), reverse=reverse)
    result = inside + enter.exp()[..., None] * outside[..., None, :]
    return result.flatten(-3, -2)[..., :chunks, :]


def decays_between(logs: Tensor) -> Tensor:
    """Return ``exp(sum_{i < j <= t} logs_j)`` for i, t = 0..C, 0 where t < i: ``(..., C)`` to ``(C+1, C+1)``.

    Every entry is summed separately and masked before the exponential, so that a strong decay costs its
    neighbours no precision, no exponent is positive, and -inf resets the state.
    """
    size = logs.shape[-1] + 1
    logs = F.pad(logs, (1, 0))[..., :, None]
    earlier = torch.ones(size, size, dtype=torch.bool, device=logs.device).tril(-1)
    sums = torch.where(earlier, logs, 0.0).cumsum(-2)
    later = torch.ones_like(earlier).triu(1)
    return sums.masked_fill(later, float("-inf")).exp()


def _until(log_spans: Tensor) -> Tensor:
    """Return the sums of all earlier entries, without differences of sums since entries may be -inf."""
    return F.pad(log_spans.cumsum(-1)[..., :-1], (1, 0))


def _crossing(log_spans: Tensor, reverse: bool) -> Tensor:
    """Return the decays ``(..., n, n)`` over the chunks strictly between m and c at (c, m); 0 unless m < c.

    Each entry is summed separately and masked before the exponential, so that nearby chunks keep full
    precision whatever precedes them.
    """
    chunks = log_spans.shape[-1]
    earlier = torch.ones(chunks, chunks, dtype=torch.bool, device=log_spans.device).tril(-1)
    sums = torch.where(earlier, log_spans[..., :, None], 0.0).cumsum(-2)
    sums = F.pad(sums[..., :-1, :], (0, 0, 1, 0))
    weights = sums.masked_fill(~earlier, float("-inf")).exp()
    return weights.transpose(-1, -2) if reverse else weights
