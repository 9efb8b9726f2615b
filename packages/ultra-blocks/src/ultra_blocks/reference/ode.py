"""One step of each method for ``dz/ds = f(z)``, as textbooks write it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

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
