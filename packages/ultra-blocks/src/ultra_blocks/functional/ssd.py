"""State space duality (Mamba-2): scans with one data-dependent decay per head, computed in chunks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.chunks import split_length


class Scan(NamedTuple):
    """One direction of a scan.

    ``S_t = exp(log_decay_t) S_{t-1} + exp(log_step_t) write_t^T x_t``, ``y_t = read_t S_t``.

    Attributes:
        read: ``(B, T, G, n)``, C of the paper, shared by the heads of a group.
        write: ``(B, T, G, n)``, B of the paper.
        log_decay: ``(B, T, H)``, ``dt A`` <= 0, at least fp32.
        log_step: ``(B, T, H)``, ``log dt``, at least fp32.
    """

    read: Tensor
    write: Tensor
    log_decay: Tensor
    log_step: Tensor


def log_softplus(x: Tensor) -> Tensor:
    """Return ``log(log(1 + exp(x)))``, which stays finite and has a gradient where softplus underflows."""
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
    """Return the output of the scans in one or two directions, without the term of each token itself.

    ``y_i = sum_{j < i} exp(a_{j+1} + .. + a_i) dt_j (read_i . write_j) x_j``, plus the mirror image with the
    scan ``backward``. ``shifted`` is the form of Hydra, in which a token receives the output of its
    neighbour, with ``read_{i-1}`` and decays up to ``a_{i-1}``. The caller adds the term ``j = i``.

    Args:
        x: ``(B, T, H, P)``, 0 at padding; matrix products take bf16 as it is and fp16 as fp32.
        forward: scan from the start of the row to its end.
        backward: scan from the end to the start; None: causal.
        shifted: return the output of the neighbour.
        chunk_size: see :func:`~ultra_blocks.functional.chunks.split_length`.
        documents: ``(B, T)`` ids of contiguous documents, -1 at padding, which must come last. None: one
            document per row, possibly followed by padding.

    Shapes:
        y ``(B, T, H, P)`` in the dtype of ``log_decay``. Time is linear in T.
    """
    length = x.shape[1]
    chunks, size = split_length(length, chunk_size)
    work = torch.float32 if x.dtype == torch.float16 else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        xs = _cut(x.to(work), chunks, size)
        lanes = [_lane(forward, chunks, size, work, shifted=shifted, reverse=False)]
        if backward is not None:
            lanes.append(_lane(backward, chunks, size, work, shifted=shifted, reverse=True))
        borders = None
        if documents is not None:
            borders = F.pad(documents, (1, chunks * size - length), value=-1)
        y = _within(xs, lanes, None if borders is None else borders[:, 1:].unflatten(1, (chunks, size)))
        if chunks > 1:
            for lane in lanes:
                y = torch.addcmul(y, *_across(xs, lane, borders))
    return y.flatten(1, 2)[:, :length]


class _Lane(NamedTuple):
    """A direction in chunks, with cumulative log decays in this direction.

    The weight of pair (i, j) is ``exp(reach_i - source_j)``; the state that enters the chunk is read with
    ``exp(reach_i)``, and token j writes to the state that leaves it with ``exp(total - source_j)``.

    Attributes:
        read: ``(B, n, G, C, N)``.
        write: ``(B, n, G, C, N)``.
        reach: ``(B, n, C, H)``.
        source: ``(B, n, C, H)``.
        total: ``(B, n, H)``, log decay across a chunk.
        reverse: the scan runs from the end to the start.
    """

    read: Tensor
    write: Tensor
    reach: Tensor
    source: Tensor
    total: Tensor
    reverse: bool


def _cut(x: Tensor, chunks: int, size: int) -> Tensor:
    """Return ``(B, T, ...)`` as chunks ``(B, n, C, ...)``, the last one padded with zeros."""
    missing = chunks * size - x.shape[1]
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return x.unflatten(1, (chunks, size))


def _lane(scan: Scan, chunks: int, size: int, work: torch.dtype, *, shifted: bool, reverse: bool) -> _Lane:
    read = scan.read
    if shifted and read.shape[1]:
        read = F.pad(read, (0, 0, 0, 0, -1, 1) if reverse else (0, 0, 0, 0, 1, -1))
    # Decays that exp maps to 0 anyway are clamped, so that they cost cumulative sums no precision.
    smallest = math.log(torch.finfo(scan.log_decay.dtype).tiny) - 40
    decay = _cut(scan.log_decay.clamp(min=smallest), chunks, size)
    until = decay.flip(2).cumsum(2).flip(2) if reverse else decay.cumsum(2)
    reach = until
    if shifted:
        reach = F.pad(until, (0, 0, -1, 1) if reverse else (0, 0, 1, -1))
    return _Lane(
        read=_cut(read.to(work), chunks, size).transpose(2, 3),
        write=_cut(scan.write.to(work), chunks, size).transpose(2, 3),
        reach=reach,
        source=until - _cut(scan.log_step, chunks, size),
        total=until[:, :, 0 if reverse else -1],
        reverse=reverse,
    )


def _within(xs: Tensor, lanes: list[_Lane], documents: Tensor | None) -> Tensor:
    """Return the intra-chunk part ``(B, n, C, H, P)``; each direction is one triangle of the same matrix."""
    size = xs.shape[2]
    earlier = torch.ones(size, size, dtype=torch.bool, device=xs.device).tril(-1)
    scores = [lane.read @ lane.write.mT for lane in lanes]
    # reach + (-source) negates the smaller tensor; the backward pass of a difference would negate all pairs
    exponents = [lane.reach.mT[..., :, None] + (-lane.source.mT)[..., None, :] for lane in lanes]
    hidden = ~earlier & ~earlier.T if len(lanes) == 2 else ~earlier
    if documents is not None:
        hidden = hidden | (documents[..., :, None] != documents[..., None, :])[:, :, None]
    score, exponent = scores[0], exponents[0]
    if len(lanes) == 2:
        score = torch.where(earlier, scores[0], scores[1])
        exponent = torch.where(earlier, exponents[0], exponents[1])
    weights = exponent.masked_fill(hidden, -math.inf).exp()  # masked before exp, which may overflow there
    groups = score.shape[2]
    mixing = (score[:, :, :, None] * weights.unflatten(2, (groups, -1))).flatten(2, 3)
    return (mixing.to(xs.dtype) @ xs.transpose(2, 3)).to(weights.dtype).transpose(2, 3)


def _across(xs: Tensor, lane: _Lane, borders: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the inter-chunk part ``(B, n, C, H, P)`` without decays inside the chunk, and these decays."""
    enter, leave = lane.reach.exp(), (lane.total[:, :, None] - lane.source).exp()
    spans = lane.total.exp()
    if borders is not None:
        size = xs.shape[2]
        ids, left, right = (
            borders[:, 1:].unflatten(1, (-1, size)),
            borders[:, :-1:size],
            borders[:, size::size],
        )
        near, far = (right, left) if lane.reverse else (left, right)
        enter = torch.where((ids == near[..., None])[..., None], enter, 0.0)
        leave = torch.where((ids == far[..., None])[..., None], leave, 0.0)
        spans = torch.where((left == right)[..., None], spans, 0.0)
    groups, heads = lane.write.shape[2], xs.shape[3]
    weighted = (xs * leave[..., None]).to(xs.dtype).unflatten(3, (groups, -1)).transpose(2, 3).flatten(4)
    states = (lane.write.mT @ weighted).to(spans.dtype).unflatten(-1, (heads // groups, -1))
    spans = spans.unflatten(-1, (groups, 1, -1, 1))
    memory = _InterChunkScan.apply(states, spans, lane.reverse).flatten(-2).to(xs.dtype)
    found = (lane.read @ memory).unflatten(-1, (heads // groups, -1)).transpose(2, 3).flatten(3, 4)
    return found, enter[..., None]


class _InterChunkScan(torch.autograd.Function):
    """States that enter each chunk: ``S_{c+1} = decay_c S_c + states_c`` along dimension 1, from ``S = 0``.

    This takes one multiply-add per element of the state and chunk, where a matrix of decays would take one
    for every pair of chunks. Its gradient is the scan in the other direction.
    """

    @staticmethod
    def forward(states: Tensor, decay: Tensor, reverse: bool) -> Tensor:
        carried = torch.empty_like(states)
        order = range(states.shape[1])[:: -1 if reverse else 1]
        carried[:, order[0]] = 0
        for here, there in pairwise(order):
            torch.addcmul(states[:, here], decay[:, here], carried[:, here], out=carried[:, there])
        return carried

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        _, decay, ctx.reverse = inputs
        ctx.save_for_backward(decay, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        decay, carried = ctx.saved_tensors
        added = _InterChunkScan.apply(gradients[0], decay, not ctx.reverse)
        return added, (added * carried).sum_to_size(decay.shape), None
