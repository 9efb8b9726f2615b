"""The formula of the norm; the conformance kit compares outputs and gradients with it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def mean_absolute(x: Tensor, state: Mapping[str, Tensor], *, eps: float, **others: object) -> Tensor:
    """Return ``weight x / (mean |x| + eps)`` for tokens ``(..., D)``."""
    size = x.abs().sum(-1, keepdim=True) / x.shape[-1]
    return state["weight"] * x / (size + eps)
