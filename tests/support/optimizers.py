"""Steps of optimizers with fixed gradients, and the formulas that variants of Muon share."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from support.tensors import normals


def drive(optimizer: Any, parameters: Sequence[Tensor], steps: int = 20) -> None:
    """Take steps whose gradients depend on nothing but the number of the step."""
    shapes, dtype = [p.shape for p in parameters], parameters[0].dtype
    for step in range(steps):
        for p, g in zip(parameters, normals(shapes, step + 1, dtype), strict=True):
            p.grad = g
        optimizer.step()


def nesterov_momentum(g: Tensor, state: dict[str, Any], mu: float = 0.95) -> Tensor:
    """Return Muon's momentum, an average of the gradients that looks one step ahead."""
    b = state["b"] = mu * state.get("b", torch.zeros_like(g)) + (1 - mu) * g
    return mu * b + (1 - mu) * g


def rms_scale(p: Tensor) -> float:
    """Return the factor that gives an orthogonal update of this shape the RMS of AdamW's."""
    return 0.2 * math.sqrt(max(p.shape))
