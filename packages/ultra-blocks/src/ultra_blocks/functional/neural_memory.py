"""Linear neural memory of Titans in chunks: gradient steps on a matrix, as matrix products. No parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ultra_blocks.functional.chunks import decays_between, from_chunks, to_chunks


class Gates(NamedTuple):
    """What each token says of each head ``(B, T, H)``, at least fp32; padding is neutral with all three 0.

    Attributes:
        step: theta, size of the gradient step.
        log_momentum: log eta <= 0, how much of the step before goes on.
        log_kept: log(1 - alpha) <= 0, how much of the memory stays.
    """

    step: Tensor
    log_momentum: Tensor
    log_kept: Tensor


class Memory(NamedTuple):
    """State of a memory that reads token by token: ``(B, H, d, d)``, with two layers ``(B, H, 2, d, n)``.

    ``start`` is the memory at the start of the chunk, where gradients are taken; ``length`` counts tokens.
    """

    start: Tensor
    memory: Tensor
    momentum: Tensor
    length: int


class Decays(NamedTuple):
    """What the gates of a chunk of C tokens make of memory and momentum before it and of steps inside it.

    With ``E_ti = prod_{i<j<=t} eta_j``, ``F_ti = prod_{i<j<=t} (1 - alpha_j)``, each ``(B, H, n, C, 1)``
    unless said otherwise.

    Attributes:
        step: theta.
        inside: ``(B, H, n, C, C)``, ``(F E)_ti``, what of step i is there at t, the diagonal times ``own``.
        kept: ``F_t0``, what of the memory is there at t.
        passed: ``(F E)_t0``, what the momentum has added to it until t.
        ahead: ``(F E)_Ci``, what of step i the memory holds at the end.
        moved: ``E_Ci``, what of it the momentum holds.
        ends: ``F_C0``, ``(F E)_C0`` and ``E_C0``, each ``(B, H, n, 1, 1)``.
    """

    step: Tensor
    inside: Tensor
    kept: Tensor
    passed: Tensor
    ahead: Tensor
    moved: Tensor
    ends: tuple[Tensor, ...]


def chunk_decays(gates: Gates, length: int, chunk_size: int, own: float) -> Decays:
    """Cut ``length`` tokens into ``n`` chunks of at most ``chunk_size``; no tokens are one chunk of one."""
    chunks, size = max(-(-length // chunk_size), 1), max(min(chunk_size, length), 1)
    step, eta, kept = (to_chunks(gate[..., None], chunks, size) for gate in gates)
    going, keeping = decays_between(eta[..., 0]), decays_between(kept[..., 0])
    both = keeping[..., 1:, 1:] @ going[..., 1:, :]  # F E, and what S' adds in its first column
    inside, passed = both[..., 1:], both[..., :1]
    if own != 1.0:
        inside = inside * (1 - (1 - own) * torch.eye(size, dtype=inside.dtype, device=inside.device))
    ends = (keeping[..., -1:, :1], passed[..., -1:, :], going[..., -1:, :1])
    ahead, moved = both[..., -1, 1:, None], going[..., -1, 1:, None]
    return Decays(step, inside, keeping[..., 1:, :1], passed, ahead, moved, ends)


def neural_memory(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    *,
    chunk_size: int,
    own: float = 1.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """Return what the queries read of a memory that learns ``k_t -> v_t`` by gradient descent.

    Per head, from ``M = S = 0``, with the gradient of ``|k M - v|^2`` at the memory M' before the chunk::

        S_t = eta_t S_{t-1} - theta_t 2 k_t^T (k_t M' - v_t)
        M_t = (1 - alpha_t) M_{t-1} + S_t,      y_t = q_t M_t

    In a chunk with ``E_ti = prod_{i<j<=t} eta_j``, ``F_ti = prod_{i<j<=t} (1 - alpha_j)``, ``W = F E`` and
    residuals ``R = V - K M'`` this is, for ``P_ti = 2 theta_i W_ti q_t . k_i``,

        y_t = F_t0 q_t M' + (F E)_t0 q_t S' + sum_{i<=t} P_ti R_i

    so that nothing loops over tokens. Over chunks it must: how M' goes on depends on all keys of the chunk,
    by a matrix that commutes with no other. That loop holds two products, ``K M'`` and ``(C, 2d)^T (C, d)``
    a chunk; all the rest is done for all chunks at once.

    Args:
        q, k, v: computed with in the dtype of the gates.
        gates: of each token.
        chunk_size: tokens C that share the memory at which gradients are taken: it is part of the model.
        own: weight of what a token reads of its own step, the diagonal of P.
        fresh: ``(B, n)`` bool, chunks that start with an empty memory; None: the first one alone.

    Shapes:
        q, k, v and y ``(B, T, H, d)``; ``n = ceil(T / C)``.
    """
    empty = k.new_zeros(len(k), *k.shape[2:], k.shape[-1], dtype=gates.step.dtype)
    return _read(q, k, v, gates, (empty, empty), chunk_size=chunk_size, own=own, fresh=fresh)[0]


def memory_chunk(
    q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor, momentum: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what one chunk of tokens reads ``(B, C, H, d)``, and memory and momentum after it.

    As :func:`neural_memory`, from ``memory`` and ``momentum`` ``(B, H, d, d)`` before the chunk.
    """
    return _read(q, k, v, gates, (memory, momentum), chunk_size=q.shape[1], own=1.0, fresh=None)


def _read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: Gates,
    before: tuple[Tensor, Tensor],
    *,
    chunk_size: int,
    own: float,
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    length = q.shape[1]
    with torch.autocast(q.device.type, enabled=False):
        decays = chunk_decays(gates, length, chunk_size, own)
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
    """Return memory and momentum before each chunk ``(B, H, n, d, d)``; residuals; the end.

    Chunks are taken apart and put together once: the gradient of an index into all of them is as large as
    all of them, which a loop would pay for in the square of the length.
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
    state: Memory, q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, chunk_size: int
) -> tuple[Tensor, Memory]:
    """Return what the next token reads ``(B, H, d)``, and the state after it.

    Shapes:
        q, k, v ``(B, H, d)``, gates ``(B, H)``.
    """
    start = state.memory if state.length % chunk_size == 0 else state.start
    q, k, v = (x.to(start.dtype)[..., None, :] for x in (q, k, v))
    step, momentum, kept = (gates.step, gates.log_momentum.exp(), gates.log_kept.exp())
    gradient = 2 * k.mT @ (k @ start - v)
    moved = momentum[..., None, None] * state.momentum - step[..., None, None] * gradient
    memory = kept[..., None, None] * state.memory + moved
    return (q @ memory).squeeze(-2), Memory(start, memory, moved, state.length + 1)
