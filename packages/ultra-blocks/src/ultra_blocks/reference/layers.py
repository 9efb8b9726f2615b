"""Layers that the references of blocks are made of: projections, heads, norms, a short convolution."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]
"""The tensors of a module by name, as in its state dict."""


def linear(x: Tensor, state: State, name: str) -> Tensor:
    """Return ``x W^T``, plus the bias if the layer ``name`` has one."""
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def inside(state: State, name: str) -> dict[str, Tensor]:
    """Return the tensors of a child, by their names in the child."""
    return {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}


def heads(x: Tensor, count: int) -> Tensor:
    """Return ``(T, H d)`` as ``(H, T, d)``."""
    return torch.stack(x.chunk(count, -1))


def concatenated(y: Tensor) -> Tensor:
    """Return ``(H, T, d)`` as ``(T, H d)``."""
    return torch.cat(list(y), -1)


def rms_norm(x: Tensor, gain: Tensor | float = 1.0, eps: float = 1e-6) -> Tensor:
    """Return ``x / sqrt(mean(x^2) + eps) * gain`` over the last dimension."""
    return x / ((x * x).mean(-1, keepdim=True) + eps).sqrt() * gain


def silu(x: Tensor) -> Tensor:
    """Return ``x sigmoid(x)``."""
    return x / (1 + torch.exp(-x))


def softplus(x: Tensor) -> Tensor:
    """Return ``log(1 + e^x)``."""
    return torch.log1p(torch.exp(x))


def convolved(u: Tensor, weight: Tensor, bias: Tensor | None = None, *, causal: bool) -> Tensor:
    """Return ``y_t = sum_k w_k u_{t + k - s} + b`` of each channel, ``s = K - 1`` if causal, else ``K // 2``.

    Tokens outside the document count as zeros.

    Shapes:
        u, y ``(T, E)``, weight ``(E, 1, K)``, bias ``(E,)``.
    """
    size = weight.shape[-1]
    shift = size - 1 if causal else size // 2
    y = torch.zeros_like(u) + (0 if bias is None else bias)
    rows = []
    for t in range(len(u)):
        row = y[t]
        for k in range(size):
            if 0 <= t + k - shift < len(u):
                row = row + weight[:, 0, k] * u[t + k - shift]
        rows.append(row)
    return torch.stack(rows)
