"""The formula of the optimizer; the conformance kit compares twenty steps with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def normalised_momentum(
    p: Tensor, g: Tensor, state: dict[str, Any], *, lr: float, momentum: float, weight_decay: float
) -> Tensor:
    """Return the new parameter, and keep the momentum in the state."""
    m = state["m"] = momentum * state.get("m", torch.zeros_like(p)) + (1 - momentum) * g
    return (1 - lr * weight_decay) * p - lr * m / m.square().mean().sqrt()
