"""Multi-head latent attention as the paper writes it: one token, one head at a time (equations 9 to 19)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ultra_blocks.reference.attention import attention
from ultra_blocks.reference.positions import rope


def latent_attention(
    h: Tensor,
    weights: Mapping[str, Tensor],
    *,
    documents: Tensor,
    positions: Tensor,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
    rotate: bool = True,
) -> Tensor:
    """Return the output before W_O, with heads concatenated ``(B, T, H d_v)``; zero at documents of -1.

    Args:
        h: ``(B, T, D)``.
        weights: ``DQ`` ``(r_q, D)`` and ``q_gain`` ``(r_q,)``, if queries have a latent; ``UQ``
            ``(H, d_n, .)`` and ``QR`` ``(H, d_r, .)``; ``DKV`` ``(r, D)``, ``kv_gain`` ``(r,)`` and ``KR``
            ``(d_r, D)``; ``UK`` ``(H, d_n, r)`` and ``UV`` ``(H, d_v, r)``;
            with QK-norm ``query_gain`` and ``key_gain`` ``(d_n + d_r,)``.
        documents: ``(B, T)``.
        positions: ``(B, T)``.
        causal: mask later keys.
        window: width of local attention.
        softcap: bound of the scores.
        rotate: whether the decoupled parts are rotated.
    """
    batch, length, _ = h.shape
    heads = len(weights["UQ"])
    q_own, q_turned, k_own, k_turned, v = ([] for _ in range(5))
    for b in range(batch):
        for t in range(length):
            source = h[b, t]
            if "DQ" in weights:
                source = _rms(weights["DQ"] @ source) * weights["q_gain"]
            latent = _rms(weights["DKV"] @ h[b, t]) * weights["kv_gain"]
            for i in range(heads):
                q_own.append(weights["UQ"][i] @ source)
                q_turned.append(weights["QR"][i] @ source)
                k_own.append(weights["UK"][i] @ latent)
                k_turned.append(weights["KR"] @ h[b, t])
                v.append(weights["UV"][i] @ latent)
    if "query_gain" in weights:
        for own, turned, gain in ((q_own, q_turned, "query_gain"), (k_own, k_turned, "key_gain")):
            for n in range(len(own)):
                whole = _rms(torch.cat((own[n], turned[n]))) * weights[gain]
                own[n], turned[n] = whole[: len(own[n])], whole[len(own[n]) :]
    parts = [
        torch.stack(part).view(batch, length, heads, -1).transpose(1, 2)
        for part in (q_own, q_turned, k_own, k_turned, v)
    ]
    if rotate:
        parts[1], parts[3] = rope(parts[1], positions), rope(parts[3], positions)
    y = attention(
        torch.cat(parts[:2], -1),
        torch.cat(parts[2:4], -1),
        parts[4],
        documents=documents,
        positions=positions,
        causal=causal,
        window=window,
        softcap=softcap,
    )
    return y.transpose(1, 2).flatten(2)


def _rms(x: Tensor, eps: float = 1e-6) -> Tensor:
    return x / torch.sqrt((x * x).mean() + eps)
