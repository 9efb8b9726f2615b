"""QK-clip, algorithm 1 of arXiv 2507.20534, one head at a time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Heads = list[Tensor]


def gammas(s_max: Sequence[float], tau: float) -> list[float]:
    """gamma^h = min(1, tau / S_max^h)."""
    return [tau / s if s > tau else 1.0 for s in s_max]


def qk_clip(
    w_q: Heads, w_k: Heads, s_max: Sequence[float], tau: float, alpha: float = 0.5
) -> tuple[Heads, Heads]:
    """Clip W_q^h and W_k^h; the paper's with as many keys as queries.

    With fewer, key g takes what the head that is clipped most asks of it, and its queries what then remains.
    """
    gamma, shared = gammas(s_max, tau), len(w_q) // len(w_k)
    w_q, w_k = list(w_q), list(w_k)
    for g in range(len(w_k)):
        group = range(g * shared, (g + 1) * shared)
        eta = min(gamma[h] for h in group) ** (1 - alpha)
        w_k[g] = eta * w_k[g]
        for h in group:
            w_q[h] = gamma[h] / eta * w_q[h]
    return w_q, w_k


def qk_clip_mla(
    w_qc: Heads, w_kc: Heads, w_qr: Heads, s_max: Sequence[float], tau: float
) -> tuple[Heads, Heads, Heads]:
    """Clip the queries and keys of each head in latent attention; the shared rotary key is not changed."""
    gamma = gammas(s_max, tau)
    for h, g in enumerate(gamma):
        w_qc = [*w_qc[:h], g**0.5 * w_qc[h], *w_qc[h + 1 :]]
        w_kc = [*w_kc[:h], g**0.5 * w_kc[h], *w_kc[h + 1 :]]
        w_qr = [*w_qr[:h], g * w_qr[h], *w_qr[h + 1 :]]
    return w_qc, w_kc, w_qr
