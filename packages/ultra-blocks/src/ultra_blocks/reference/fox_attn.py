"""The Forgetting Transformer (arXiv:2503.02130), and its form for encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.attention import multi_head
from ultra_blocks.reference.layers import State, linear


def fox_attn(
    x: Tensor,
    state: State,
    *,
    num_heads: int,
    causal: bool,
    positions: Any,
    separate_gates: bool,
    qk_norm: bool,
    window: int | None,
    softcap: float | None,
    **_: Any,
) -> Tensor:
    """Return ``[softmax(q k^T / sqrt(d) + D) v over heads] W_O``, with gates ``f = sigmoid(w x + b)``."""
    f = torch.sigmoid(linear(x, state, "forget_proj")).T
    behind, ahead = f.chunk(2) if separate_gates else (f, f)
    y = multi_head(
        x,
        state,
        num_heads=num_heads,
        positions=positions,
        qk_norm=qk_norm,
        causal=causal,
        window=window,
        softcap=softcap,
        bias=forget_bias(behind, ahead),
    )
    return linear(y, state, "out_proj")


def forget_bias(behind: Tensor, ahead: Tensor) -> Tensor:
    """Return the bias of the scores, ``D_ij = sum_{l=j+1}^{i} log f_l`` (equation 4 of the paper).

    For a key after the query the sum is that over ``i+1..j`` of the gates ``ahead``.

    Shapes:
        gates f ``(H, T)`` -> ``(H, T, T)``.
    """
    rows = []
    for i in range(behind.shape[-1]):
        past = behind[:, 1 : i + 1].log().flip(-1).cumsum(-1).flip(-1)  # for j = 0..i-1
        future = ahead[:, i + 1 :].log().cumsum(-1)  # for j = i+1, ..
        rows.append(torch.cat((past, torch.zeros_like(behind[:, :1]), future), -1))
    return torch.stack(rows, 1)
