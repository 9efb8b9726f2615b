"""State space duality (Mamba-2): scalar data-dependent decays a head, in chunks. No parameters."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.chunks import carry, from_chunks, split_length, to_chunks


class Scan(NamedTuple):
    """One direction: ``S_t = exp(log_decay_t) S_{t-1} + exp(log_step_t) write_t^T x_t``, and ``read_t S_t``.

    Attributes:
        read: ``(B, T, G, n)``, C of the paper; heads of a group share it.
        write: ``(B, T, G, n)``, B of the paper.
        log_decay: ``(B, T, H)`` <= 0, at least fp32: ``dt A``.
        log_step: ``(B, T, H)``, at least fp32: ``log dt``.
    """

    read: Tensor
    write: Tensor
    log_decay: Tensor
    log_step: Tensor


def log_softplus(x: Tensor) -> Tensor:
    """``log(log(1 + exp(x)))``, finite and with a gradient where softplus underflows."""
    return torch.where(x < -40, x, F.softplus(x.clamp(min=-40)).log())


def ssd(
    x: Tensor,
    forward: Scan,
    backward: Scan | None = None,
    *,
    shifted: bool = False,
    chunk_size: int = 64,
    documents: Tensor | None = None,
) -> Tensor:
    """Return what each token reads of the others: of those before it, plus of those after it.

    ``y_i = sum_{j < i} exp(a_{j+1} + .. + a_i) dt_j (read_i . write_j) x_j``, plus the mirror image with the
    scan ``backward``. ``shifted`` is Hydra's form: a token reads the output of its neighbour, ``read_{i-1}``
    and decays up to ``a_{i-1}``. The own term ``j = i`` is left to the caller.

    Args:
        x: ``(B, T, H, P)``; bf16 goes into matrix products as it is, fp16 as fp32; 0 at padding.
        forward: from the start of the row to its end.
        backward: the other way; None: causal.
        shifted: read with the neighbour's query.
        chunk_size: as :func:`~ultra_blocks.functional.chunks.split_length` takes it.
        documents: ``(B, T)`` ids, each document in one piece without padding inside, -1 at padding, which
            stands at the end. None: one document a row, maybe with padding at the end.

    Shapes:
        y ``(B, T, H, P)`` in the dtype of ``log_decay``. Cost linear in T.
    """
    chunks, size = split_length(x.shape[1], chunk_size)
    work = torch.float32 if x.dtype == torch.float16 else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        xs = to_chunks(x.to(work), chunks, size)
        lanes = [_lane(forward, chunks, size, work, shifted=shifted, reverse=False)]
        if backward is not None:
            lanes.append(_lane(backward, chunks, size, work, shifted=shifted, reverse=True))
        borders = None
        if documents is not None:
            borders = F.pad(documents, (1, chunks * size - x.shape[1]), value=-1)
        y = _within(xs, lanes, None if borders is None else borders[:, 1:].unflatten(1, (chunks, size)))
        if chunks > 1:
            for lane in lanes:
                y = y + _across(xs, lane, borders)
    return from_chunks(y, x.shape[1])


class _Lane(NamedTuple):
    """A direction in chunks, its decays as sums towards it.

    Weights are ``exp(reach_i - source_j)``; in over a border ``exp(reach)``, out ``exp(total - source)``.
    """

    read: Tensor  # (B, G, n, C, N)
    write: Tensor
    reach: Tensor  # (B, H, n, C)
    source: Tensor
    total: Tensor  # (B, H, n)
    reverse: bool


def _lane(scan: Scan, chunks: int, size: int, work: torch.dtype, *, shifted: bool, reverse: bool) -> _Lane:
    read = scan.read
    if shifted:
        read = F.pad(read, (0, 0, 0, 0, -1, 1) if reverse else (0, 0, 0, 0, 1, -1))
    # What exp maps to 0 anyway is cut, lest cumulative sums lose their digits to it.
    smallest = math.log(torch.finfo(scan.log_decay.dtype).tiny) - 40
    decay = to_chunks(scan.log_decay.clamp(min=smallest)[..., None], chunks, size).squeeze(-1)
    step = to_chunks(scan.log_step[..., None], chunks, size).squeeze(-1)
    until = decay.flip(-1).cumsum(-1).flip(-1) if reverse else decay.cumsum(-1)
    before = F.pad(until[..., 1:], (0, 1)) if reverse else F.pad(until[..., :-1], (1, 0))
    return _Lane(
        read=to_chunks(read.to(work), chunks, size),
        write=to_chunks(scan.write.to(work), chunks, size),
        reach=before if shifted else until,
        source=until - step,
        total=until[..., 0 if reverse else -1],
        reverse=reverse,
    )


def _within(xs: Tensor, lanes: list[_Lane], documents: Tensor | None) -> Tensor:
    """The products inside chunks; both directions share one matrix, each has its triangle."""
    size = xs.shape[-2]
    earlier = torch.ones(size, size, dtype=torch.bool, device=xs.device).tril(-1)
    scores = [lane.read @ lane.write.transpose(-1, -2) for lane in lanes]
    exponents = [lane.reach[..., :, None] - lane.source[..., None, :] for lane in lanes]
    hidden = ~earlier & ~earlier.T if len(lanes) == 2 else ~earlier
    if documents is not None:
        hidden = hidden | (documents[..., :, None] != documents[..., None, :])[:, None]
    score, exponent = scores[0], exponents[0]
    if len(lanes) == 2:
        score = torch.where(earlier, scores[0], scores[1])
        exponent = torch.where(earlier, exponents[0], exponents[1])
    weights = exponent.masked_fill(hidden, -math.inf).exp()  # masked first: exp may overflow there
    groups = score.shape[1]
    mixing = (score[:, :, None] * weights.unflatten(1, (groups, -1))).flatten(1, 2)
    return (mixing.to(xs.dtype) @ xs).to(weights.dtype)


def _across(xs: Tensor, lane: _Lane, borders: Tensor | None) -> Tensor:
    """What tokens read of other chunks, ``(B, H, n, C, P)``."""
    enter, leave = lane.reach.exp(), (lane.total[..., None] - lane.source).exp()
    spans = lane.total
    if borders is not None:
        size = xs.shape[-2]
        ids, left, right = (
            borders[:, 1:].unflatten(1, (-1, size)),
            borders[:, :-1:size],
            borders[:, size::size],
        )
        near, far = (right, left) if lane.reverse else (left, right)
        enter = torch.where((ids == near[..., None])[:, None], enter, 0.0)
        leave = torch.where((ids == far[..., None])[:, None], leave, 0.0)
        spans = spans.masked_fill((left != right)[:, None], -math.inf)
    groups, state = lane.write.shape[1], lane.write.shape[-1]
    weighted = (xs * leave[..., None]).to(xs.dtype).unflatten(1, (groups, -1))
    states = lane.write.transpose(-1, -2)[:, :, None] @ weighted
    carried = carry(states.flatten(1, 2).flatten(-2).to(spans.dtype), spans, reverse=lane.reverse)
    memory = carried.unflatten(-1, (state, -1)).unflatten(1, (groups, -1)).to(xs.dtype)
    return (lane.read[:, :, None] @ memory).flatten(1, 2) * enter[..., None]
