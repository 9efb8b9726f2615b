"""Delta rules in chunks: what the state predicts wrongly is written into it. No parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ultra_blocks.functional.channel_decays import decayed_products
from ultra_blocks.functional.chunks import decays_between
from ultra_blocks.functional.triangular import unit_lower_inverse


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    chunk_size: int = 32,
    documents: Tensor | None = None,
) -> Tensor:
    """Return what the queries read of a matrix that learns to give ``v_t`` for ``k_t``, and forgets.

    Per head, from ``S = 0``, with ``a_t = exp(log_decay_t)``, a number or a number a channel of the keys::

        S' = diag(a_t) S_{t-1},   S_t = S' + beta_t k_t^T (v_t - k_t S'),   y_t = q_t S_t

    In a chunk with decays ``D_ij = a_{j+1} .. a_i`` and state S before it, what tokens write, ``R``, solves a
    triangular system (WY form): with ``L_ij = beta_i k_i diag(D_ij) k_j^T`` for j < i, ``D_i`` the decay from
    the left border and ``D_Ci`` that to the right one,

        R   = (I + L)^{-1} diag(beta) (V - (K * D_i) S)
        Y   = (Q * D_i) S + [q_i diag(D_ij) k_j^T for j <= i] R
        S+  = diag(D_C) S + (K * D_Ci)^T R

    The inverses and all products without S are formed for all chunks at once. How S goes on is a matrix a
    chunk that commutes with no other: two products a chunk remain in a loop, whose backward is written out.
    Everything is computed in the dtype of ``beta``: products of bf16 would be rounded where the inverse and
    the norm behind it enlarge errors.

    Args:
        q: ``(B, T, H, d_k)``.
        k: ``(B, T, H, d_k)``, of length <= 1, else the states may grow; 0 at padding.
        v: ``(B, T, H, d_v)``.
        beta: ``(B, T, H)`` in [0, 2], at least fp32.
        log_decay: ``(B, T, H)`` or ``(B, T, H, d_k)``, <= 0, in the dtype of ``beta``; None: nothing fades.
        chunk_size: tokens of a chunk, rounded up to a power of two.
        documents: ``(B, T)`` ids; where they change, the state is empty. None: one document a row.

    Shapes:
        y ``(B, T, H, d_v)`` in the dtype of ``beta``, not scaled. Time and memory linear in T.

    Paper: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    arXiv:2406.06484; with decays: arXiv:2412.06464, arXiv:2510.26692.
    """
    batch, length, heads, _ = k.shape
    size = 2 ** (min(chunk_size, length) - 1).bit_length()
    chunks = -(-length // size)
    if documents is not None:
        log_decay = torch.zeros_like(beta) if log_decay is None else log_decay
        begins = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0))
        begins = begins.reshape(begins.shape + (1,) * (log_decay.ndim - 2))
        log_decay = log_decay.masked_fill(begins, float("-inf"))
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = (_cut(x.to(beta.dtype), chunks, size) for x in (q, k, v))
        beta = _cut(beta, chunks, size)
        parts = _parts(q, k, None if log_decay is None else _cut(log_decay, chunks, size))
        solved = unit_lower_inverse(parts.overlap * beta[..., None]) * beta[..., None, :]
        written = solved @ v
        if chunks == 1:
            y = parts.scores @ written
        else:
            weights = solved if parts.enter is None else solved * parts.enter[..., None, :]
            written, states = _OverChunks.apply(written, weights @ parts.predict, parts.write, parts.span)
            y = parts.read @ states + parts.scores @ written
    return y.permute(1, 0, 3, 2, 4).reshape(batch, chunks * size, heads, -1)[:, :length]


def delta_step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the next token reads ``(B, H, d_v)``, and the state after it, all in the state's dtype.

    Shapes:
        q, k ``(B, H, d_k)``, v ``(B, H, d_v)``, beta ``(B, H)``, log_decay ``(B, H)`` or ``(B, H, d_k)``,
        state ``(B, H, d_k, d_v)``.
    """
    if log_decay is not None:
        decay = log_decay.exp()
        state = (decay[..., None] if decay.ndim == beta.ndim else decay)[..., None] * state
    error = v - (k[..., None, :] @ state).squeeze(-2)
    state = state + k[..., None] * (beta[..., None] * error)[..., None, :]
    return (q[..., None, :] @ state).squeeze(-2), state


class _Parts(NamedTuple):
    """What chunks need of queries, keys and decays, ``(n, B, H, C, ...)``.

    ``overlap`` are the products of keys with earlier keys (on and above the diagonal anything), ``scores``
    those of queries with earlier keys and their own. ``predict`` are keys that meet the old state, weighted
    by ``enter``; ``read`` queries that do; ``write`` what carries values over the right border; ``span``
    ``(n, B, H, 1 or d_k, 1)`` what is left of the old state there.
    """

    overlap: Tensor
    scores: Tensor
    read: Tensor
    predict: Tensor
    enter: Tensor | None
    write: Tensor
    span: Tensor | None


def _cut(x: Tensor, chunks: int, size: int) -> Tensor:
    """Return ``(B, T, H, ...)`` as ``(n, B, H, C, ...)``: a chunk is one piece, as the loop wants it."""
    missing = chunks * size - x.shape[1]
    x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)).unflatten(1, (chunks, size))
    return x.movedim(1, 0).movedim(2, 3).contiguous()


def _parts(q: Tensor, k: Tensor, log_decay: Tensor | None) -> _Parts:
    if log_decay is not None and log_decay.ndim == k.ndim:
        found = decayed_products(q, k, log_decay)
        span = found.span[..., None]
        return _Parts(found.keys, found.queries, found.read, found.predict, None, found.write, span)
    overlap, scores = k @ k.mT, q @ k.mT
    if log_decay is None:
        return _Parts(overlap, scores.tril(), q, k, None, k, None)
    decays = decays_between(log_decay)
    within, enter, leave = decays[..., 1:, 1:], decays[..., 1:, 0], decays[..., -1, 1:]
    read, write, span = q * enter[..., None], k * leave[..., None], decays[..., -1, :1, None]
    return _Parts(overlap * within, scores * within, read, k, enter, write, span)


class _OverChunks(torch.autograd.Function):
    """``R_c = U_c - W_c S_c``, ``S_{c+1} = diag(span_c) S_c + K_c^T R_c``; returns R and S.

    R is computed in the memory of U.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, w: Tensor, k: Tensor, span: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.mark_dirty(u)
        states = u.new_zeros(*k.shape[:-2], k.shape[-1], u.shape[-1])
        rows, ws, ks, ss = (x.flatten(1, 2) for x in (u, w, k, states))
        spans = None if span is None else span.flatten(1, 2)
        last = len(u) - 1
        for c in range(last + 1):
            if c:
                rows[c].baddbmm_(ws[c], ss[c], alpha=-1)
            if c < last:
                if spans is None:
                    ss[c + 1].copy_(ss[c])
                else:
                    torch.mul(ss[c], spans[c], out=ss[c + 1])
                ss[c + 1].baddbmm_(ks[c].mT, rows[c])
        ctx.save_for_backward(w, k, span, states, u)
        return u, states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_rows: Tensor, d_states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        w, k, span, states, rows = ctx.saved_tensors
        last = len(w) - 1
        du = d_rows.clone(memory_format=torch.contiguous_format)
        after = torch.zeros_like(states)  # the gradient of what follows each chunk, S_{c+1}
        d_rs, d_ss, ws, ks, afters = (x.flatten(1, 2) for x in (du, d_states, w, k, after))
        spans = None if span is None else span.flatten(1, 2)
        for c in range(last, 0, -1):
            if c == last:
                afters[c - 1].copy_(d_ss[c])
            else:
                d_rs[c].baddbmm_(ks[c], afters[c])
                if spans is None:
                    torch.add(d_ss[c], afters[c], out=afters[c - 1])
                else:
                    torch.addcmul(d_ss[c], afters[c], spans[c], out=afters[c - 1])
            afters[c - 1].baddbmm_(ws[c].mT, d_rs[c], alpha=-1)
        d_rs[0].baddbmm_(ks[0], afters[0])
        d_span = None
        if span is not None:
            d_span = torch.linalg.vecdot(states, after)[..., None]
            d_span = d_span.sum(-2, keepdim=True) if span.shape[-2] == 1 else d_span
        return du, (du @ states.mT).neg_(), rows @ after.mT, d_span
