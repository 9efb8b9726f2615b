"""The formula of the FFN; the conformance kit compares outputs and gradients with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def gated(x: Tensor, state: Mapping[str, Tensor], **others: object) -> Tensor:
    """Return ``W_down (g sigmoid(slope g) * W_up x)`` for tokens ``(T, D)``, with ``g = W_gate x``."""
    rows = x @ state["gate_up.weight"].mT + state.get("gate_up.bias", torch.zeros(()))
    gate, up = rows.chunk(2, dim=-1)
    opened = gate / (1 + torch.exp(-state["slope"] * gate))
    return (opened * up) @ state["down.weight"].mT + state.get("down.bias", torch.zeros(()))
