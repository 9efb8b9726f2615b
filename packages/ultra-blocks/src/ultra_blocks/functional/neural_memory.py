"""Linear neural memory of Titans in chunks: gradient steps on a matrix, as matrix products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ultra_blocks.functional.chunks import decays_between, from_chunks, to_chunks


class MemoryGates(NamedTuple):
    """Gates of each token and head ``(B, T, H)``, at least fp32; padding with all three 0 has no effect.

    Attributes:
        step: theta, size of the gradient step.
        log_momentum: log eta <= 0, decay of the momentum.
        log_kept: log(1 - alpha) <= 0, decay of the memory.
    """

    step: Tensor
    log_momentum: Tensor
    log_kept: Tensor


class MemoryState(NamedTuple):
    """State of decoding token by token, ``(B, H, d, d)`` each, or with two layers ``(B, H, 2, d, n)``.

    Attributes:
        start: memory at the start of the chunk, where gradients are taken.
        memory: memory after the last token.
        momentum: momentum after the last token.
        length: number of tokens.
    """

    start: Tensor
    memory: Tensor
    momentum: Tensor
    length: int


class MemoryDecays(NamedTuple):
    """Cumulative decays of memory and momentum over a chunk of C tokens.

    With ``E_ti = prod_{i<j<=t} eta_j``, ``F_ti = prod_{i<j<=t} (1 - alpha_j)``, each ``(B, H, n, C, 1)``
    unless said otherwise.

    Attributes:
        step: theta.
        inside: ``(B, H, n, C, C)``, ``(F E)_ti``, factor of step i in the memory at t, diagonal times
            ``own``.
        kept: ``F_t0``, factor of the initial memory at t.
        passed: ``(F E)_t0``, factor of the initial momentum in the memory at t.
        ahead: ``(F E)_Ci``, factor of step i in the memory at the end.
        moved: ``E_Ci``, factor of step i in the momentum at the end.
        ends: ``F_C0``, ``(F E)_C0`` and ``E_C0``, each ``(B, H, n, 1, 1)``.
    """

    step: Tensor
    inside: Tensor
    kept: Tensor
    passed: Tensor
    ahead: Tensor
    moved: Tensor
    ends: tuple[Tensor, ...]


def memory_decays(gates: MemoryGates, length: int, chunk_size: int, own: float) -> MemoryDecays:
    """Return the decays of ``length`` tokens in ``n`` chunks of at most ``chunk_size``."""
    chunks, size = max(-(-length // chunk_size), 1), max(min(chunk_size, length), 1)
    step, eta, kept = (to_chunks(gate[..., None], chunks, size) for gate in gates)
    going, keeping = decays_between(eta[..., 0]), decays_between(kept[..., 0])
    both = keeping[..., 1:, 1:] @ going[..., 1:, :]  # F E, with the factor of S' in its first column
    inside, passed = both[..., 1:], both[..., :1]
    if own != 1.0:
        inside = inside * (1 - (1 - own) * torch.eye(size, dtype=inside.dtype, device=inside.device))
    ends = (keeping[..., -1:, :1], passed[..., -1:, :], going[..., -1:, :1])
    ahead, moved = both[..., -1, 1:, None], going[..., -1, 1:, None]
    return MemoryDecays(step, inside, keeping[..., 1:, :1], passed, ahead, moved, ends)


def neural_memory(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: MemoryGates,
    *,
    chunk_size: int,
    own: float = 1.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """Return the output of a memory that learns ``k_t -> v_t`` by gradient descent.

    Per head, from ``M = S = 0``, with the gradient of ``|k M - v|^2`` at the memory M' before the chunk::

        S_t = eta_t S_{t-1} - theta_t 2 k_t^T (k_t M' - v_t)
        M_t = (1 - alpha_t) M_{t-1} + S_t,      y_t = q_t M_t

    In a chunk with ``E_ti = prod_{i<j<=t} eta_j``, ``F_ti = prod_{i<j<=t} (1 - alpha_j)``, ``W = F E`` and
    residuals ``R = V - K M'`` this is, with ``P_ti = 2 theta_i W_ti q_t . k_i``,

        y_t = F_t0 q_t M' + (F E)_t0 q_t S' + sum_{i<=t} P_ti R_i

    so that nothing loops over tokens. A loop over chunks remains, because the transitions of M' are matrices
    that do not commute. It contains two products per chunk, ``K M'`` and ``(C, 2d)^T (C, d)``; everything
    else is computed for all chunks at once.

    Args:
        q, k, v: queries, keys and values, converted to the dtype of the gates.
        gates: gates of each token.
        chunk_size: tokens C whose gradients are taken at the same memory; it changes the model.
        own: factor of the step of each token in its own output, the diagonal of P.
        fresh: ``(B, n)`` bool, chunks that start with an empty memory; None: only the first.

    Shapes:
        q, k, v and y ``(B, T, H, d)``; ``n = ceil(T / C)``.
    """
    empty = k.new_zeros(len(k), *k.shape[2:], k.shape[-1], dtype=gates.step.dtype)
    return _read(q, k, v, gates, (empty, empty), chunk_size=chunk_size, own=own, fresh=fresh)[0]


def memory_chunk(
    q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, memory: Tensor, momentum: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output at the tokens of one chunk ``(B, C, H, d)``, and memory and momentum after it.

    See :func:`neural_memory`; ``memory`` and ``momentum`` ``(B, H, d, d)`` are those before the chunk.
    """
    return _read(q, k, v, gates, (memory, momentum), chunk_size=q.shape[1], own=1.0, fresh=None)


def _read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: MemoryGates,
    before: tuple[Tensor, Tensor],
    *,
    chunk_size: int,
    own: float,
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    length = q.shape[1]
    with torch.autocast(q.device.type, enabled=False):
        decays = memory_decays(gates, length, chunk_size, own)
        q, k, v = (to_chunks(x.to(gates.step.dtype), *decays.inside.shape[2:4]) for x in (q, k, v))
        keys = torch.cat((k * decays.ahead, k * decays.moved), -1)
        rate = 2 * decays.step
        starts, momenta, residuals, after = _over_chunks(rate * k, rate * v, keys, decays.ends, before, fresh)
        y = ((q @ k.mT) * decays.inside) @ residuals
        y = y + decays.kept * (q @ starts) + decays.passed * (q @ momenta)
    return from_chunks(y, length), *after


def _over_chunks(
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    ends: tuple[Tensor, ...],
    before: tuple[Tensor, Tensor],
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return memory and momentum before each chunk ``(B, H, n, d, d)``, residuals, and the final state.

    Chunks are unbound and stacked once: the gradient of an index has the size of the whole tensor, so that
    indexing in the loop would take time quadratic in the length.
    """
    memory, momentum = before
    starts, momenta, residuals = [], [], []
    chunks = zip(*(x.unbind(2) for x in (k, v, keys.mT, *ends)), strict=True)
    for c, (key, value, writer, keep, passed_on, going_on) in enumerate(chunks):
        if fresh is not None and c:
            empty = fresh[:, c, None, None, None]
            memory, momentum = torch.where(empty, 0.0, memory), torch.where(empty, 0.0, momentum)
        residual = value - key @ memory
        starts.append(memory)
        momenta.append(momentum)
        residuals.append(residual)
        learnt, moved = (writer @ residual).chunk(2, -2)
        memory, momentum = keep * memory + passed_on * momentum + learnt, going_on * momentum + moved
    return torch.stack(starts, 2), torch.stack(momenta, 2), torch.stack(residuals, 2), (memory, momentum)


def memory_step(
    state: MemoryState, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, *, chunk_size: int
) -> tuple[Tensor, MemoryState]:
    """Return the output ``(B, H, d)`` at the next token, and the state after it.

    Shapes:
        q, k, v ``(B, H, d)``, gates ``(B, H)``.
    """
    start = state.memory if state.length % chunk_size == 0 else state.start
    q, k, v = (x.to(start.dtype)[..., None, :] for x in (q, k, v))
    step, momentum, kept = (gates.step, gates.log_momentum.exp(), gates.log_kept.exp())
    gradient = 2 * k.mT @ (k @ start - v)
    moved = momentum[..., None, None] * state.momentum - step[..., None, None] * gradient
    memory = kept[..., None, None] * state.memory + moved
    return (q @ memory).squeeze(-2), MemoryState(start, memory, moved, state.length + 1)
