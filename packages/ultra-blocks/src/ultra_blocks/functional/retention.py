"""Multi-scale retention in chunks: decays, rotations of queries and keys, and the products."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.functional.chunks import from_chunks, inter_chunk_scan, split_length, to_chunks

DecayInit = Literal["powers", "linspace"]
RotationGrid = Literal["torchscale", "rope", "none"]


def log_decays(num_heads: int, init: DecayInit = "powers") -> tuple[float, ...]:
    """Return ``log(gamma_h)`` for each head h.

    "powers": ``gamma_h = 1 - 2**(-5 - h)``. "linspace": ``1 - gamma`` goes from 1/32 to 1/512 in equal
    ratios, whatever the number of heads.
    """
    if init == "powers":
        return tuple(math.log1p(-(2.0 ** (-5 - h))) for h in range(num_heads))
    ratios = [h / max(num_heads - 1, 1) for h in range(num_heads)]
    return tuple(math.log1p(-math.exp((1 - r) * math.log(1 / 32) + r * math.log(1 / 512))) for r in ratios)


def rotation_table(positions: Tensor, key_dim: int, grid: RotationGrid, dtype: torch.dtype) -> Tensor:
    """Return ``(cos, sin)`` of the angles ``p * 10000**-e_j`` as ``(..., T, d/2, 2)``.

    Exponents of "torchscale": d/2 equal steps from 0 to 1 inclusive, ``e_j = j / (d/2 - 1)``; of "rope":
    ``e_j = j / (d/2)``. Angles are fp64 (fp32 on devices without it), so that adding
    10^4 to all positions changes no product.

    Shapes: positions ``(..., T)`` integers, key_dim d even.
    """
    exact = torch.float32 if positions.device.type == "mps" else torch.float64
    half = key_dim // 2
    steps = max(half - 1, 1) if grid == "torchscale" else half
    exponents = torch.arange(half, dtype=exact, device=positions.device) / steps
    angles = positions[..., None].to(exact) * 10000.0**-exponents
    return torch.stack((angles.cos(), angles.sin()), -1).to(dtype)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate adjacent pairs: ``(x_2j, x_2j+1) -> (x_2j cos - x_2j+1 sin, x_2j sin + x_2j+1 cos)``.

    Shapes: x ``(B, T, H, d)``; turn, the result of :func:`rotation_table`, ``(B or 1, T, d/2, 2)``.
    """
    pairs = x.to(turn.dtype).unflatten(-1, (-1, 2))
    turn = turn[:, :, None]
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # One pass over memory instead of six. Compilers fuse the real form and support no complex numbers.
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn))
    else:
        (a, b), (cos, sin) = pairs.unbind(-1), turn.unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1)
    return turned.flatten(-2)


class ChunkDecays(NamedTuple):
    """Decays between tokens, and between tokens and the borders of their chunk; 0 across documents.

    Both directions use the same numbers: the decay from a border to a token in one direction is the decay
    from the token to that border in the other.

    Attributes:
        within: ``(B or 1, H, n or 1, C, C)``, ``gamma**|p_i - p_j|`` inside a chunk (causal: 0 for j > i).
        left: ``(B or 1, H, n or 1, C)``, decay between a token and the left border of its chunk.
        right: the same for the right border.
        log_spans: ``(B or 1, H, n)``, log decay from the left to the right border of a chunk.
    """

    within: Tensor
    left: Tensor
    right: Tensor
    log_spans: Tensor


def chunk_decays(
    log_gammas: tuple[float, ...],
    length: int,
    chunk_size: int,
    *,
    causal: bool,
    dtype: torch.dtype,
    device: torch.device,
    documents: Tensor | None = None,
    positions: Tensor | None = None,
) -> ChunkDecays:
    """Return the decays of a batch whose rows are divided into chunks.

    Args:
        log_gammas: ``log(gamma)`` of each head, < 0.
        length: row length T.
        chunk_size: see :func:`~ultra_blocks.functional.chunks.split_length`.
        causal: tokens ignore later tokens.
        dtype: dtype of the decays, at least fp32.
        device: device of the activations.
        documents: ``(B, T)`` document ids, not decreasing over real tokens, -1 at padding. None: each row is
            one document and columns are positions (keys or values at padding must be 0 either way).
        positions: ``(B, T)`` positions in the documents, over which decays count; decreases count as 0.
    """
    chunks, size = split_length(length, chunk_size)
    if documents is None or positions is None:
        clock = torch.arange(size, device=device).expand(1, 1, size)
        before, last = clock.new_full((1, chunks), -1), clock.new_full((1, chunks), size - 1)
    else:
        # One number per token, whose differences are those of positions inside a document and huge across
        # documents. Its running maximum gives padding the number of the preceding real token.
        clock = torch.where(documents >= 0, documents * 2**32 + positions, -1)
        clock = F.pad(clock, (1, chunks * size - length), value=-1).cummax(-1).values
        before, last = clock[:, :-1:size], clock[:, size::size]
        clock = clock[:, 1:].unflatten(-1, (chunks, size))
    between = _distance(clock[..., :, None], clock[..., None, :], dtype)
    if causal:
        later = torch.ones(size, size, dtype=torch.bool, device=device).triu(1)
        between = between.masked_fill(later, float("inf"))
    to_left = _distance(clock, before[:, : clock.shape[1], None], dtype)
    to_right = _distance(clock, last[:, : clock.shape[1], None], dtype)
    log_gamma = torch.tensor(log_gammas, dtype=dtype, device=device)[:, None]
    return ChunkDecays(
        torch.exp(log_gamma[..., None, None] * between[:, None]),
        torch.exp(log_gamma[..., None] * to_left[:, None]),
        torch.exp(log_gamma[..., None] * to_right[:, None]),
        log_gamma * _distance(last, before, dtype)[:, None],
    )


def _distance(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the number of positions between two tokens, infinite across documents."""
    distance = (a - b).abs()
    return distance.to(dtype).masked_fill(distance >= 2**31, float("inf"))


def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decays: ChunkDecays,
    *,
    causal: bool,
    reverse: bool = False,
) -> Tensor:
    """Return ``y_i = sum_j gamma**|p_i - p_j| (q_i . k_j) v_j`` over the document (causal: over j <= i).

    The result is not scaled by ``d_k**-0.5``. Keys or values at padding must be zero; the output at padding
    is meaningless. The cost per token and head is ``2 C (d_k + d_v) + 8 d_k d_v`` flops plus the inter-chunk
    scan, independent of T.

    Args:
        q, k, v: activations; matrix products take fp64, fp32 and bf16 as they are and fp16 as fp32.
        decays: result of :func:`chunk_decays` for the same length and ``causal``; states have their dtype.
        causal: sum over one side only, j <= i.
        reverse: with ``causal``, sum over j >= i instead.

    Shapes:
        q, k: ``(B, T, H, d_k)``; v: ``(B, T, H, d_v)``; y: ``(B, T, H, d_v)`` in the dtype of the decays.
    """
    length = q.shape[1]
    chunks, size = decays.log_spans.shape[-1], decays.within.shape[-1]
    work = torch.float32 if v.dtype == torch.float16 else v.dtype
    q, k, v = (to_chunks(x.to(work), chunks, size) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        scores = (q @ k.transpose(-1, -2)) * (decays.within.mT if reverse else decays.within)
        y = (scores.to(work) @ v).to(decays.within.dtype)
        if chunks > 1:
            if not reverse:
                y = y + _across(q, k, v, decays.left, decays.right, decays.log_spans, reverse=False)
            if reverse or not causal:
                y = y + _across(q, k, v, decays.right, decays.left, decays.log_spans, reverse=True)
    return from_chunks(y, length)


def _across(
    q: Tensor, k: Tensor, v: Tensor, read: Tensor, write: Tensor, log_spans: Tensor, *, reverse: bool
) -> Tensor:
    """Return the inter-chunk part of the output in one direction, ``(B, H, n, C, d_v)``."""
    states = (k * write[..., None]).to(k.dtype).transpose(-1, -2) @ v
    carried = inter_chunk_scan(states.flatten(-2).to(log_spans.dtype), log_spans, reverse=reverse)
    memory = carried.unflatten(-1, states.shape[-2:]).to(q.dtype)
    return ((q * read[..., None]).to(q.dtype) @ memory).to(log_spans.dtype)
