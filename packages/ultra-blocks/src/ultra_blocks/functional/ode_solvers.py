"""Explicit Runge-Kutta methods with equal steps, for autonomous equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Solver = Literal["rk4", "euler", "midpoint", "heun"]


class Tableau(NamedTuple):
    """A Runge-Kutta method: ``k_i = f(z + h sum_j a_ij k_j)``, and the step is ``h sum_i b_i k_i``."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int

    @property
    def stages(self) -> int:
        """Number of evaluations of f per step."""
        return len(self.b)


TABLEAUS: dict[str, Tableau] = {
    "rk4": Tableau(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4),
    "euler": Tableau(((),), (1.0,), 1),
    "midpoint": Tableau(((), (0.5,)), (0.0, 1.0), 2),
    "heun": Tableau(((), (1.0,)), (0.5, 0.5), 2),
}
"""Methods by name; the error at s = 1 decreases as ``steps ** -order``."""


def integrate(field: Callable[[Tensor], Tensor], x: Tensor, *, solver: Solver, steps: int) -> Tensor:
    """Return ``z(1) - z(0)`` of ``dz/ds = field(z)``, ``z(0) = x``, in ``steps`` steps of ``1 / steps``.

    The difference is accumulated separately, in at least fp32, so that it keeps its precision beside a large
    ``x``.

    Args:
        field: ``f``, which preserves shape; called ``steps * stages`` times with z in the dtype of ``x``.
        x: initial value.
        solver: name of a method in :data:`TABLEAUS`.
        steps: number of steps, at least 1.

    Shapes:
        returns the shape of ``x`` in the dtype that ``field`` returns.
    """
    tableau, h = TABLEAUS[solver], 1 / steps
    wide = torch.promote_types(x.dtype, torch.float32)
    moved: Tensor | None = None
    dtype = x.dtype
    for _ in range(steps):
        slopes: list[Tensor] = []
        for row in tableau.a:
            ahead = _combined(moved, row, slopes, h)
            k = field(x if ahead is None else (x.to(wide) + ahead).to(x.dtype))
            dtype = k.dtype
            slopes.append(k.to(wide))
        moved = _combined(moved, tableau.b, slopes, h)
    assert moved is not None, "steps is 1 or more"
    return moved.to(dtype)


def _combined(
    start: Tensor | None, factors: tuple[float, ...], slopes: list[Tensor], h: float
) -> Tensor | None:
    """Return ``start + h sum_j factors_j slopes_j``, where None is zero."""
    for factor, slope in zip(factors, slopes, strict=True):
        if factor:
            term = slope if h * factor == 1 else h * factor * slope
            start = term if start is None else start + term
    return start
