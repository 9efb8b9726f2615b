"""Long-term memory of Titans in the notation of arXiv:2501.00663, with the inner gradient by autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Gates = tuple[Tensor, Tensor, Tensor]
Weights = tuple[Tensor, ...]
State = tuple[Weights, Weights]


def read(W: Weights, q_t: Tensor) -> Tensor:
    """Return ``M(q_t)`` of a matrix, or of an MLP of two layers with residual and unit output."""
    if len(W) == 1:
        return q_t @ W[0]
    u = q_t @ W[0]
    o = (u * u.sigmoid()) @ W[1]
    return q_t + o / (o.square().sum() + 1e-6).sqrt()


def loss(W: Weights, k_t: Tensor, v_t: Tensor) -> Tensor:
    """Return ``l(M; x_t) = |M(k_t) - v_t|^2`` (equation 12)."""
    return (read(W, k_t) - v_t).square().sum()


def neural_memory(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    theta: Tensor,
    eta: Tensor,
    alpha: Tensor,
    chunk_size: int,
    own: float = 1.0,
    before: State | None = None,
    start: Weights | None = None,
) -> tuple[Tensor, Weights, Weights]:
    """Return the outputs ``y_t = M_t(q_t)`` and the last M and S.

    ``S_t = eta_t S_{t-1} - theta_t grad l(M'; x_t)``, ``M_t = (1 - alpha_t) M_{t-1} + S_t``; M' is the memory
    before the chunk (section 3.2). A token reads ``own`` of the step that itself makes. M is counted from
    the weights ``start``, None: from one matrix of zeros. ``before`` the first token M and S are 0, or given.

    Shapes:
        Q, K, V ``(T, d)``; theta, eta, alpha ``(T,)``; M, S and ``start``: ``(d, d)`` or ``(d, n), (n, d)``.
    """
    W_0 = (K.new_zeros(K.shape[1], V.shape[1]),) if start is None else start
    M, S = (tuple(torch.zeros_like(W) for W in W_0),) * 2 if before is None else before
    outputs = []
    for t in range(len(K)):
        if t % chunk_size == 0:
            # keys and values may depend on M, as in mac; the gradient of l is with respect to M only
            M_chunk = tuple(W + D for W, D in zip(W_0, M, strict=True))
            M_chunk = tuple(W if W.requires_grad else W.requires_grad_() for W in M_chunk)
        surprise = torch.autograd.grad(loss(M_chunk, K[t], V[t]), M_chunk, create_graph=True)
        S = tuple(eta[t] * s - theta[t] * g for s, g in zip(S, surprise, strict=True))
        M = tuple((1 - alpha[t]) * m + s for m, s in zip(M, S, strict=True))
        seen = (W + m + (1 - own) * theta[t] * g for W, m, g in zip(W_0, M, surprise, strict=True))
        outputs.append(read(tuple(seen), Q[t]))
    return torch.stack(outputs), M, S


def bidirectional(
    Q: Tensor,
    K: Tensor,
    V: Tensor,
    ahead: Gates,
    back: Gates,
    chunk_size: int,
    start: Weights | None = None,
) -> Tensor:
    """Return the sum of both directions, with separate gates; a token's own steps count with their mean."""
    y, _, _ = neural_memory(Q, K, V, *ahead, chunk_size=chunk_size, own=0.5, start=start)
    Q, K, V, theta, eta, alpha = (x.flip(0) for x in (Q, K, V, *back))
    z, _, _ = neural_memory(Q, K, V, theta, eta, alpha, chunk_size, own=0.5, start=start)
    return y + z.flip(0)


def memory_as_a_gate(y: Tensor, read: Tensor) -> Tensor:
    """Return ``o = y * sigma(M(x))``, both normalised (section 4.2)."""
    return y * read.sigmoid()


def memory_as_a_layer(x: Tensor, read: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``o = Attn(x + M(x))`` with M(x) normalised; equation 30 of the paper lacks x (section 4.3)."""
    return attend(x + read)


def memory_as_context(
    segments: list[Tensor],
    ask: Callable[[Tensor, State], Tensor],
    attend: Callable[[int, Tensor | None], Tensor],
    write: Callable[[Tensor, State | None], tuple[Tensor, State]],
) -> list[Tensor]:
    """Section 4.1: ``h = M'(q)``, ``y = Attn([P, h, S])``, M learns y, ``o = y * M(y)``, for each segment.

    Args:
        segments: segments in order.
        ask: returns h of a segment, from the memory before it.
        attend: returns y of a segment, given its index and h, or None while there is no memory.
        write: returns the normalised output of the memory that learns y, and the memory after it.
    """
    state: State | None = None
    outputs = []
    for number, S in enumerate(segments):
        h = None if state is None else ask(S, state)
        y = attend(number, h)
        read, state = write(y, state)
        outputs.append(memory_as_a_gate(y, read))
    return outputs
