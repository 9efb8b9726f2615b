"""RetNet (arXiv:2307.08621), causal or in both directions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State, concatenated, heads, linear, rms_norm, silu
from ultra_blocks.reference.retention import bidirectional, recurrent, rotate


def retnet(
    X: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    bidirectional_form: str,
    value_expansion: int,
    decay_init: str,
    rotation: str,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return ``W_O (swish(X W_G) * RMSNorm(retention(X)))`` ``(T, D)`` of X ``(T, D)``."""
    D, wide = X.shape[-1], value_expansion * X.shape[-1]
    Q, K, V, G = linear(X, state, "in_proj").split((D, D, wide, wide), -1)
    split = bidirectional_form == "split" and not causal
    gammas = decays(num_heads // 2 if split else num_heads, decay_init)
    d_k = D // num_heads
    y = []
    for h, (Q_h, K_h, V_h) in enumerate(zip(*(heads(part, num_heads) for part in (Q, K, V)), strict=True)):
        gamma = gammas[h % len(gammas)]
        if rotation != "none":
            p, e = torch.arange(len(X)), exponents(d_k, rotation)
            Q_h, K_h = rotate(Q_h, p, e), rotate(K_h, p, e)
        if causal or (split and h < num_heads // 2):
            y_h = recurrent(Q_h, K_h, V_h, gamma)
        elif split:
            y_h = recurrent(Q_h.flip(0), K_h.flip(0), V_h.flip(0), gamma).flip(0)
        else:
            y_h = bidirectional(Q_h, K_h, V_h, gamma)
        y.append(y_h / math.sqrt(d_k))
    return linear(silu(G) * concatenated(rms_norm(torch.stack(y), eps=eps)), state, "out_proj")


def decays(number: int, init: str) -> list[float]:
    """Return gamma of each head: ``1 - 2^(-5-h)``, or from 1 - 1/32 to 1 - 1/512 in equal ratios."""
    if init == "powers":
        return [1 - 2 ** (-5 - h) for h in range(number)]
    return [1 - (1 / 32) * (32 / 512) ** (h / max(number - 1, 1)) for h in range(number)]


def exponents(d_k: int, rotation: str) -> Tensor:
    """Return e_j of the frequencies ``10000^-e_j``: up to 1 in torchscale, below 1 in rope."""
    half = d_k // 2
    last = max(half - 1, 1) if rotation == "torchscale" else half
    return torch.tensor([j / last for j in range(half)], dtype=torch.float64)
