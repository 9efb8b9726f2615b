"""Time cut into chunks, and states carried between them by matrix products.

A linear recurrence is computed as products inside chunks plus one state a chunk. The states in turn obey a
recurrence over chunks, which :func:`carry` solves with a matrix of decays for up to ``GROUP`` chunks and
with groups of groups beyond, so that nothing loops over time and cost stays linear in the length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GROUP = 32
"""Chunks whose states one matrix of decays connects."""


def split_length(length: int, chunk_size: int) -> tuple[int, int]:
    """Return ``(n, C)``: how many chunks, and tokens a chunk, with ``n * C >= length`` and little to fill up.

    Up to twice ``chunk_size`` tokens are one chunk: without states that is cheaper.
    """
    if length <= 2 * chunk_size:
        return 1, max(length, 1)
    chunks = -(-length // chunk_size)
    return chunks, -(-length // chunks)


def to_chunks(x: Tensor, chunks: int, size: int) -> Tensor:
    """Return ``(B, T, H, d)`` as ``(B, H, n, C, d)``, contiguous, zeros filling up the last chunk."""
    batch, length, heads, width = x.shape
    x = F.pad(x.transpose(1, 2), (0, 0, 0, chunks * size - length))
    return x.reshape(batch, heads, chunks, size, width).contiguous()


def from_chunks(x: Tensor, length: int) -> Tensor:
    """Return ``(B, H, n, C, d)`` as ``(B, T, H, d)``, the inverse of :func:`to_chunks`."""
    return x.flatten(2, 3)[:, :, :length].transpose(1, 2)


def carry(states: Tensor, log_spans: Tensor, *, reverse: bool = False) -> Tensor:
    """Return what reaches each chunk from the chunks before it (``reverse``: after it).

    ``S_c = sum_{m < c} exp(sum_{m < f < c} log_spans_f) states_m``, that is the exclusive scan of
    ``S_{c+1} = exp(log_spans_c) S_c + states_c``.

    Args:
        states: ``(..., n, X)``, what each chunk adds, as seen from its far border; at least fp32.
        log_spans: ``(..., n)``, log of the decay across a whole chunk, <= 0; -inf lets nothing pass.
        reverse: carry from the end to the start.

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
    outside = carry(totals, log_spans.sum(-1), reverse=reverse)
    result = inside + enter.exp()[..., None] * outside[..., None, :]
    return result.flatten(-3, -2)[..., :chunks, :]


def decays_between(logs: Tensor) -> Tensor:
    """Return ``exp(sum_{i < j <= t} logs_j)`` for i, t = 0..C, 0 where t < i: ``(..., C)`` to ``(C+1, C+1)``.

    Every entry is a sum of its own, masked before the exponential: a strong decay costs its neighbours no
    digits, no exponent is positive, and -inf forgets everything.
    """
    size = logs.shape[-1] + 1
    logs = F.pad(logs, (1, 0))[..., :, None]
    earlier = torch.ones(size, size, dtype=torch.bool, device=logs.device).tril(-1)
    sums = torch.where(earlier, logs, 0.0).cumsum(-2)
    later = torch.ones_like(earlier).triu(1)
    return sums.masked_fill(later, float("-inf")).exp()


def _until(log_spans: Tensor) -> Tensor:
    """Sums of all earlier entries (no difference of cumulative sums: entries may be -inf)."""
    return F.pad(log_spans.cumsum(-1)[..., :-1], (1, 0))


def _crossing(log_spans: Tensor, reverse: bool) -> Tensor:
    """``(..., n, n)``: entry (c, m) is the decay over the chunks strictly between m and c; 0 unless m < c.

    Each entry is its own sum, masked before the exponential, so that near chunks keep full precision
    whatever lies before them.
    """
    chunks = log_spans.shape[-1]
    earlier = torch.ones(chunks, chunks, dtype=torch.bool, device=log_spans.device).tril(-1)
    sums = torch.where(earlier, log_spans[..., :, None], 0.0).cumsum(-2)
    sums = F.pad(sums[..., :-1, :], (0, 0, 1, 0))
    weights = sums.masked_fill(~earlier, float("-inf")).exp()
    return weights.transpose(-1, -2) if reverse else weights
