"""The formula of the position code; the conformance kit compares scores and gradients with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def scores(q: Tensor, k: Tensor, state: Mapping[str, Tensor], **others: object) -> Tensor:
    """Return ``q_i^T k_j - strength log(1 + rate |i - j|)`` ``(H, T, T)`` of q and k ``(H, T, d)``."""
    places = torch.arange(q.shape[1])
    distance = (places[:, None] - places).abs()
    strength, rate = (state[name].exp()[:, None, None] for name in ("log_strength", "log_rate"))
    return q @ k.mT - strength * torch.log(1 + rate * distance)
