"""The formula of the block, in plain loops; the conformance kit compares outputs and gradients with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def average(
    x: Tensor, state: Mapping[str, Tensor], *, num_heads: int, causal: bool, **others: object
) -> Tensor:
    """Return the output ``(T, D)`` for the tokens ``(T, D)`` of one document."""
    length, width = x.shape
    value, gate = (x @ state["value_gate.weight"].mT).chunk(2, dim=-1)
    heads = value.reshape(length, num_heads, width // num_heads)
    rates = state["log_rate"].exp()
    rows = []
    for t in range(length):
        seen = range(t + 1) if causal else range(length)
        weights = torch.stack([torch.exp(-rates * abs(t - s)) for s in seen])  # (S, H)
        total = sum(weights[s][:, None] * heads[s] for s in seen)
        rows.append((total / weights.sum(0)[:, None]).flatten())
    mean = torch.stack(rows)
    return torch.sigmoid(gate) * mean @ state["out_proj.weight"].mT
