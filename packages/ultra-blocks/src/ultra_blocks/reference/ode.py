"""Attention as the right-hand side of ``dz/ds = f(z)``, and one step of each method as textbooks write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ultra_blocks.reference.layers import State, inside
from ultra_blocks.reference.norms import layer_norm
from ultra_blocks.reference.standard_attn import standard_attn

Field = Callable[[Tensor], Tensor]


def euler(f: Field, z: Tensor, h: float) -> Tensor:
    """``z + h f(z)``."""
    return z + h * f(z)


def midpoint(f: Field, z: Tensor, h: float) -> Tensor:
    """``z + h f(z + h/2 f(z))``."""
    return z + h * f(z + h / 2 * f(z))


def heun(f: Field, z: Tensor, h: float) -> Tensor:
    """``z + h/2 (f(z) + f(z + h f(z)))``."""
    return z + h / 2 * (f(z) + f(z + h * f(z)))


def rk4(f: Field, z: Tensor, h: float) -> Tensor:
    """``z + h/6 (k1 + 2 k2 + 2 k3 + k4)``."""
    k1 = f(z)
    k2 = f(z + h * k1 / 2)
    k3 = f(z + h * k2 / 2)
    k4 = f(z + h * k3)
    return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


METHODS = {"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4}


def solve(f: Field, x: Tensor, solver: str, steps: int) -> Tensor:
    """Return ``z(1) - z(0)`` from ``z(0) = x``."""
    z = x
    for _ in range(steps):
        z = METHODS[solver](f, z, 1 / steps)
    return z - x


def ode(x: Tensor, state: State, *, solver: str, steps: int, **attention: Any) -> Tensor:
    """Return ``z(1) - z(0)`` from ``z(0) = x`` ``(T, D)``, for ``f(z) = Attn(LayerNorm(z))``."""

    def f(z: Tensor) -> Tensor:
        z = layer_norm(z, inside(state, "norm"), eps=1e-5)
        return standard_attn(z, inside(state, "attention"), window=None, **attention)

    return solve(f, x, solver, steps)
