"""The delta rule in chunks: each token writes the error of the state's prediction into the state."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.chunks import decays_between
from ultra_blocks.functional.intra_chunk import decayed_products
from ultra_blocks.functional.triangular import unit_lower_inverse


class DeltaGates(NamedTuple):
    """Gates of one direction, at least fp32.

    Attributes:
        beta: ``(B, T, H)`` in [0, 2], write strength: the fraction of the error that is written.
        log_decay: ``(B, T, H)`` or ``(B, T, H, d_k)``, <= 0, log decay of the state before the write; None:
            no decay.
    """

    beta: Tensor
    log_decay: Tensor | None = None


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    forward: DeltaGates,
    backward: DeltaGates | None = None,
    *,
    chunk_size: int = 32,
    documents: Tensor | None = None,
) -> Tensor:
    """Return the output of the delta rule, whose state learns to map ``k_t`` to ``v_t`` and decays.

    Per head, from ``S = 0``, with ``a_t = exp(log_decay_t)``, a scalar or a vector over the key channels::

        S' = diag(a_t) S_{t-1},   S_t = S' + beta_t k_t^T (v_t - k_t S'),   y_t = q_t S_t

    With ``backward``, a second state runs from the end to the start. ``y`` is then the sum of both, in which
    the term of the token itself, ``beta_t (q_t . k_t) v_t``, counts once, with the mean of both beta.

    In a chunk with decays ``D_ij = a_{j+1} .. a_i`` and initial state S, the writes ``R`` of its tokens solve
    a triangular system (WY form). With ``L_ij = beta_i k_i diag(D_ij) k_j^T`` for j < i, ``D_i`` the decay
    from the start of the chunk to i, ``D_Ci`` that from i to its end, and ``D_C`` that across it,

        R   = (I + L)^{-1} diag(beta) (V - (K * D_i) S)
        Y   = (Q * D_i) S + [q_i diag(D_ij) k_j^T for j <= i] R
        S+  = diag(D_C) S + (K * D_Ci)^T R

    The inverses and outputs are computed for all chunks at once. The inter-chunk transitions of S are
    matrices that do not commute, so that two products per chunk remain in a loop, with an explicit backward
    pass. Everything is computed in the dtype of the gates, because the inverse and the norm after it would
    amplify the rounding errors of bf16 products.

    Args:
        q: ``(B, T, H, d_k)``.
        k: ``(B, T, H, d_k)``, of norm <= 1, or else states may grow; 0 at padding.
        v: ``(B, T, H, d_v)``, 0 at padding.
        forward: gates of the scan from the start of the row to its end.
        backward: gates of the scan from the end to the start; None: causal.
        chunk_size: tokens of a chunk, rounded up to a power of two.
        documents: ``(B, T)`` ids; the state is reset where they change. None: one document per row.

    Shapes:
        y ``(B, T, H, d_v)`` in the dtype of the gates, not scaled. Time and memory linear in T.

    Paper: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    arXiv:2406.06484; with decays: arXiv:2412.06464, arXiv:2510.26692.
    """
    length, exact = k.shape[1], forward.beta.dtype
    size = 2 ** (min(chunk_size, length) - 1).bit_length()
    chunks = max(1, -(-length // size))
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = (_cut(x.to(exact), chunks, size) for x in (q, k, v))
        fades = forward.log_decay is not None and forward.log_decay.ndim == 4
        products = None if fades else (k @ k.mT, q @ k.mT)
        betas, outputs = [], []
        for gates, reverse in ((forward, False), (backward, True)):
            if gates is not None:
                log_decay = _with_borders(gates, documents, reverse=reverse)
                decay = None if log_decay is None else _cut(log_decay, chunks, size)
                betas.append(_cut(gates.beta, chunks, size))
                parts = _parts(q, k, decay, products, reverse=reverse)
                outputs.append(_scan(v, betas[-1], parts, reverse=reverse))
        y = outputs[0]
        if backward is not None:
            own = (q * k).sum(-1) if products is None else products[1].diagonal(dim1=-2, dim2=-1)
            mean = own * (betas[0] + betas[1]) / 2
            y = torch.addcmul(y + outputs[1], mean[..., None], v, value=-1)
    return y.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length]


def delta_step(q: Tensor, k: Tensor, v: Tensor, gates: DeltaGates, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output ``(B, H, d_v)`` at the next token and the state after it, in the dtype of the state.

    Shapes:
        q, k ``(B, H, d_k)``, v ``(B, H, d_v)``, gates without T, state ``(B, H, d_k, d_v)``.
    """
    if gates.log_decay is not None:
        decay = gates.log_decay.exp()
        state = (decay[..., None] if decay.ndim == gates.beta.ndim else decay)[..., None] * state
    error = v - (k[..., None, :] @ state).squeeze(-2)
    state = state + k[..., None] * (gates.beta[..., None] * error)[..., None, :]
    return (q[..., None, :] @ state).squeeze(-2), state


class _Parts(NamedTuple):
    """Products of queries, keys and decays of one direction, ``(n, B, H, C, ...)``.

    Attributes:
        overlap: products of keys with earlier keys; arbitrary on and above the diagonal.
        scores: products of queries with earlier keys and that of the same token.
        read: queries of the state that enters the chunk.
        predict: keys of the state that enters the chunk, without the decays ``enter``.
        enter: decays from the start of the chunk; None if ``predict`` includes them.
        write: keys with which tokens write into the state that leaves the chunk.
        span: ``(n, B, H, 1 or d_k, 1)``, decay across the chunk; None: no decay.
    """

    overlap: Tensor
    scores: Tensor
    read: Tensor
    predict: Tensor
    enter: Tensor | None
    write: Tensor
    span: Tensor | None


def _cut(x: Tensor, chunks: int, size: int) -> Tensor:
    """Return ``(B, T, H, ...)`` as ``(n, B, H, C, ...)``, with contiguous chunks for the loop."""
    missing = chunks * size - x.shape[1]
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return x.unflatten(1, (chunks, size)).movedim(1, 0).movedim(2, 3).contiguous()


def _with_borders(gates: DeltaGates, documents: Tensor | None, *, reverse: bool) -> Tensor | None:
    """Return the log decays, -inf where a document starts in the direction of the scan."""
    if documents is None:
        return gates.log_decay
    log_decay = torch.zeros_like(gates.beta) if gates.log_decay is None else gates.log_decay
    begins = F.pad(documents[:, 1:] != documents[:, :-1], (0, 1) if reverse else (1, 0))
    return log_decay.masked_fill(begins.reshape(begins.shape + (1,) * (log_decay.ndim - 2)), float("-inf"))


def _parts(
    q: Tensor, k: Tensor, log_decay: Tensor | None, products: tuple[Tensor, Tensor] | None, *, reverse: bool
) -> _Parts:
    if products is None:
        assert log_decay is not None
        scores, overlap, read, predict, write = decayed_products(q, k, log_decay, reverse=reverse)
        span = log_decay.sum(-2).exp()[..., None]
        return _Parts(overlap, scores, read, predict, None, write, span)
    overlap, scores = products
    if log_decay is None:
        return _Parts(overlap, scores.triu() if reverse else scores.tril(), q, k, None, k, None)
    if reverse:
        decays = decays_between(log_decay.flip(-1)).flip(-1, -2)
        within, enter, leave = decays[..., :-1, :-1], decays[..., :-1, -1], decays[..., 0, :-1]
        span = decays[..., 0, -1:, None]
    else:
        decays = decays_between(log_decay)
        within, enter, leave = decays[..., 1:, 1:], decays[..., 1:, 0], decays[..., -1, 1:]
        span = decays[..., -1, :1, None]
    read, write = q * enter[..., None], k * leave[..., None]
    return _Parts(overlap * within, scores * within, read, k, enter, write, span)


def _scan(v: Tensor, beta: Tensor, parts: _Parts, *, reverse: bool) -> Tensor:
    """Return the output in one direction, ``(n, B, H, C, d_v)``."""
    errors = parts.overlap * beta[..., None]
    inverse = unit_lower_inverse(errors.mT).mT if reverse else unit_lower_inverse(errors)
    solved = inverse * beta[..., None, :]
    if len(v) == 1:
        return parts.scores @ (solved @ v)
    weights = solved if parts.enter is None else solved * parts.enter[..., None, :]
    predict = weights @ parts.predict
    y: Tensor = _OverChunks.apply(
        solved, v, predict, parts.read, parts.write, parts.scores, parts.span, reverse
    )
    return y


class _OverChunks(torch.autograd.Function):
    """``R_c = P_c V_c - W_c S_c``, ``S_{c+1} = diag(span_c) S_c + K_c^T R_c``, ``Y_c = A_c R_c + Q_c S_c``.

    Takes ``P, V, W, Q, K, A, span`` in this order and returns Y. ``reverse`` starts at the last chunk. Only
    the two products per chunk that depend on the preceding chunk are computed in loops.
    """

    @staticmethod
    def forward(
        ctx: Any,
        p: Tensor,
        v: Tensor,
        w: Tensor,
        q: Tensor,
        k: Tensor,
        a: Tensor,
        span: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        written = p @ v
        states = v.new_empty(*k.shape[:-2], k.shape[-1], v.shape[-1])
        rows, ws, ks, ss = (x.flatten(1, 2) for x in (written, w, k, states))
        spans = None if span is None else span.flatten(1, 2)
        order = range(len(v))[:: -1 if reverse else 1]
        ss[order[0]].zero_()
        for c, after in pairwise(order):
            if c != order[0]:
                rows[c].baddbmm_(ws[c], ss[c], alpha=-1)
            if spans is None:
                ss[after].copy_(ss[c])
            else:
                torch.mul(ss[c], spans[c], out=ss[after])
            ss[after].baddbmm_(ks[c].mT, rows[c])
        rows[order[-1]].baddbmm_(ws[order[-1]], ss[order[-1]], alpha=-1)
        y = a @ written
        later = slice(None, -1) if reverse else slice(1, None)
        y[later].flatten(0, 2).baddbmm_(q[later].flatten(0, 2), states[later].flatten(0, 2))
        ctx.save_for_backward(p, v, w, q, k, a, span, states, written)
        ctx.order = order
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        p, v, w, q, k, a, span, states, written = ctx.saved_tensors
        d_written, d_states = a.mT @ dy, q.mT @ dy
        d_rows, d_ss, ws, ks = (x.flatten(1, 2) for x in (d_written, d_states, w, k))
        spans = None if span is None else span.flatten(1, 2)
        first, after = ctx.order[0], None
        for c in ctx.order[::-1]:
            if after is not None:
                d_rows[c].baddbmm_(ks[c], d_ss[after])
            if c == first:
                break
            d_ss[c].baddbmm_(ws[c].mT, d_rows[c], alpha=-1)
            if after is not None:
                d_ss[c].add_(d_ss[after]) if spans is None else d_ss[c].addcmul_(d_ss[after], spans[c])
            after = c
        earlier, later = (slice(None, -1), slice(1, None))[:: 1 if first == 0 else -1]
        d_span = None if span is None else torch.zeros_like(span)
        if d_span is not None:
            shares = torch.linalg.vecdot(states[earlier], d_states[later])[..., None]
            d_span[earlier] = shares.sum_to_size(d_span[earlier].shape)
        dk = torch.zeros_like(k)
        dk[earlier] = written[earlier] @ d_states[later].mT
        del d_states, d_ss
        dp, dv, da = d_written @ v.mT, p.mT @ d_written, dy @ written.mT
        return dp, dv, (d_written @ states.mT).neg_(), dy @ states.mT, dk, da, d_span, None
