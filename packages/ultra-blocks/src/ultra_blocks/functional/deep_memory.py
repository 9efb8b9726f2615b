"""Neural memory of two layers in chunks: gradient steps on an MLP, as matrix products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ultra_blocks.functional.chunks import from_chunks, to_chunks
from ultra_blocks.functional.neural_memory import MemoryDecays, MemoryGates, MemoryState, memory_decays

EPS = 1e-6
"""Added to the squared norm by which the output of the MLP is divided."""


class GradientFactors(NamedTuple):
    """Factors of the gradients of both layers: their inputs, and the gradients of their outputs.

    Attributes:
        left: ``(..., 2, C, d)``, the keys, and the gradient of the output of the second layer.
        right: ``(..., 2, C, n)``, the gradient of the output of the first layer, and the input of the second.
    """

    left: Tensor
    right: Tensor


def deep_memory(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: MemoryGates,
    start: Tensor,
    *,
    chunk_size: int,
    own: float = 1.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """Return the output of an MLP that learns ``k_t -> v_t`` by gradient descent.

    Per head, with ``M(x) = x + o / |o|``, ``o = silu(x W_1) W_2``, from ``D = S = 0``, gradients of
    ``|M(k) - v|^2`` taken at the weights ``W'`` before the chunk::

        S_t = eta_t S_{t-1} - theta_t grad_W |M'(k_t) - v_t|^2
        D_t = (1 - alpha_t) D_{t-1} + S_t,      W_t = start + D_t,      y_t = M_t(q_t)

    The gradient of a layer is the product of its input ``a_t`` and the gradient ``g_t`` of its output. In a
    chunk a layer therefore has the closed form of ``neural_memory``,

        x_t W_t = x_t start + F_t0 x_t D' + (F E)_t0 x_t S' - sum_{i<=t} theta_i (F E)_ti (x_t . a_i) g_i,

    first for ``q_t``, then for the silu of the result. Weights exist once per chunk. A loop over chunks
    contains four products, forward and backward through the MLP at W', and one that updates both layers.

    Args:
        q, k, v: queries, keys and values, converted to the dtype of ``start``.
        gates: gates of each token.
        start: weights of an empty memory, those of the second layer transposed.
        chunk_size: tokens C whose gradients are taken at the same weights; it changes the model.
        own: factor of the step of each token in its own output.
        fresh: ``(B, m)`` bool, chunks that start with an empty memory; None: only the first.

    Shapes:
        q, k, v and y ``(B, T, H, d)``; start ``(H, 2, d, n)``; ``m = ceil(T / C)``.
    """
    empty = start.new_zeros(len(k), *start.shape)
    return _read(q, k, v, gates, start, (empty, empty), chunk_size=chunk_size, own=own, fresh=fresh)[0]


def deep_memory_chunk(
    q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, start: Tensor, memory: Tensor, momentum: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output at one chunk of tokens ``(B, C, H, d)``, and D and S after it ``(B, H, 2, d, n)``.

    See :func:`deep_memory`; ``memory`` and ``momentum`` are D and S before the chunk.
    """
    before = (memory, momentum)
    return _read(q, k, v, gates, start, before, chunk_size=q.shape[1], own=1.0, fresh=None)


def deep_memory_step(
    state: MemoryState, q: Tensor, k: Tensor, v: Tensor, gates: MemoryGates, start: Tensor, *, chunk_size: int
) -> tuple[Tensor, MemoryState]:
    """Return the output ``(B, H, d)`` at the next token, and the state after it.

    Shapes:
        q, k, v ``(B, H, d)``, gates ``(B, H)``.
    """
    origin = state.memory if state.length % chunk_size == 0 else state.start
    q, k, v = (x.to(start.dtype)[..., None, :] for x in (q, k, v))
    step, momentum, kept = (
        gate[..., None, None, None] for gate in (gates.step, gates.log_momentum.exp(), gates.log_kept.exp())
    )
    with torch.autocast(q.device.type, enabled=False):
        left, right = _gradient_factors(k, v, 2 * step[..., 0], start + origin)
        moved = momentum * state.momentum - left.mT @ right
        memory = kept * state.memory + moved
        y = answer(q, start + memory).squeeze(-2)
    return y, MemoryState(origin, memory, moved, state.length + 1)


def answer(x: Tensor, weights: Tensor) -> Tensor:
    """Return ``x + o / |o|``, ``o = silu(x W_1) W_2``: x ``(..., T, d)``, weights ``(..., 2, d, n)``."""
    first, second = weights.unbind(-3)
    return x + _unit(torch.nn.functional.silu(x @ first) @ second.mT)[0]


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x divided by its norm, and the factor."""
    factor = (x.square().sum(-1, keepdim=True) + EPS).rsqrt()
    return x * factor, factor


def _gradient_factors(k: Tensor, v: Tensor, rate: Tensor, weights: Tensor) -> GradientFactors:
    """Return the factors of ``rate / 2`` times the gradients of ``|M(k) - v|^2``.

    Shapes:
        k, v ``(..., C, d)``, rate ``(..., C, 1)``, weights ``(..., 2, d, n)``.
    """
    first, second = weights.unbind(-3)
    inner = k @ first
    share = inner.sigmoid()
    hidden = inner * share
    unit, factor = _unit(hidden @ second.mT)
    error = rate * (k + unit - v)
    behind = factor * (error - unit * (unit * error).sum(-1, keepdim=True))
    between = (behind @ second) * (share + hidden * (1 - share))
    return GradientFactors(torch.stack((k, behind), -3), torch.stack((between, hidden), -3))


def _read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gates: MemoryGates,
    start: Tensor,
    before: tuple[Tensor, Tensor],
    *,
    chunk_size: int,
    own: float,
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    length = q.shape[1]
    with torch.autocast(q.device.type, enabled=False):
        decays = memory_decays(gates, length, chunk_size, own)
        q, k, v = (to_chunks(x.to(start.dtype), *decays.inside.shape[2:4]) for x in (q, k, v))
        memories, momenta, factor_pair, after = _over_chunks(k, v, start, decays, before, fresh)
        (keys, behind), (between, hidden) = factor_pair.left.unbind(3), factor_pair.right.unbind(3)
        first, second = start.unbind(1)
        (old_1, old_2), (moving_1, moving_2) = memories.unbind(3), momenta.unbind(3)
        inner = _through(q, first, old_1, moving_1, keys, between, decays)
        inner = torch.nn.functional.silu(inner)
        out = _through(inner, second.mT, old_2.mT, moving_2.mT, hidden, behind, decays)
        y = q + _unit(out)[0]
    return from_chunks(y, length), *after


def _through(
    x: Tensor,
    start: Tensor,
    memory: Tensor,
    momentum: Tensor,
    inputs: Tensor,
    gradients: Tensor,
    decays: MemoryDecays,
) -> Tensor:
    """Return ``x_t W_t`` for one layer, from the weights before each chunk and the steps inside it."""
    y = torch.einsum("bhmci,hio->bhmco", x, start)
    y = y + decays.kept * (x @ memory) + decays.passed * (x @ momentum)
    return y - ((x @ inputs.mT) * decays.inside) @ gradients


def _over_chunks(
    k: Tensor,
    v: Tensor,
    start: Tensor,
    decays: MemoryDecays,
    before: tuple[Tensor, Tensor],
    fresh: Tensor | None,
) -> tuple[Tensor, Tensor, GradientFactors, tuple[Tensor, Tensor]]:
    """Return D and S before each chunk ``(B, H, m, 2, d, n)``, gradient factors, and the final D and S."""
    memory, momentum = before
    memories, momenta, factors = [], [], []
    parts = (k, v, 2 * decays.step, decays.ahead[..., None, :, :], decays.moved[..., None, :, :])
    ends = (end[..., None] for end in decays.ends)
    chunks = zip(*(x.unbind(2) for x in (*parts, *ends)), strict=True)
    for c, (key, value, rate, ahead, moved, keep, passed_on, going_on) in enumerate(chunks):
        if fresh is not None and c:
            empty = fresh[:, c, None, None, None, None]
            memory, momentum = torch.where(empty, 0.0, memory), torch.where(empty, 0.0, momentum)
        factor_pair = _gradient_factors(key, value, rate, start + memory)
        memories.append(memory)
        momenta.append(momentum)
        factors.append(factor_pair)
        writer = torch.cat((factor_pair.left * ahead, factor_pair.left * moved), -1)
        learnt, stepped = (writer.mT @ factor_pair.right).chunk(2, -2)
        memory = keep * memory + passed_on * momentum - learnt
        momentum = going_on * momentum - stepped
    left, right = (torch.stack(parts, 2) for parts in zip(*factors, strict=True))
    return torch.stack(memories, 2), torch.stack(momenta, 2), GradientFactors(left, right), (memory, momentum)
