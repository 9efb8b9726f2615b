"""The dense feed-forward networks, and their activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ultra_blocks.reference.layers import State, linear, silu


def mlp(x: Tensor, state: State, *, activation: str, **_: Any) -> Tensor:
    """Return ``W_down act(W_up x)``; x and the result are ``(T, D)`` (arXiv:1706.03762, section 3.3)."""
    return linear(activate(linear(x, state, "up"), activation), state, "down")


def glu(x: Tensor, state: State, *, activation: str, **_: Any) -> Tensor:
    """Return ``W_down (act(W_gate x) * W_up x)`` (arXiv:2002.05202)."""
    gate, up = linear(x, state, "gate_up").chunk(2, -1)
    return linear(activate(gate, activation) * up, state, "down")


def activate(x: Tensor, name: str) -> Tensor:
    """Return ``act(x)``; activations that are not written out here are those of torch."""
    plain = FORMULAS.get(name) or getattr(torch.nn.functional, name)
    y: Tensor = plain(x)
    return y


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": silu,
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "relu2": lambda x: torch.where(x > 0, x, 0.0) ** 2,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
}
