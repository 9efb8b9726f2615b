"""Well-known methods as functions of their decay rates, and the rates that come closest to a path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Rates = list[tuple[float, float]]

USUAL = (0.0, 0.05, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.965, 0.98, 0.99, 0.995, 0.999, 0.9999)
ROUNDS = 14
"""Each divides the distance of the rates that are tried, by :data:`FINER`."""

FINER = 1.8
CHOSEN = 800
"""How many elements are compared."""


class Family(NamedTuple):
    """A method with two decay rates.

    Attributes:
        name: what it is called.
        twin: what one of its members imitates.
        paths: maps decay rates and gradients (steps, elements) to displacements (rates, elements).
        least: the cosine above which a path is a member of the family.
        legal: whether a pair of rates is the method, and no other one with a name of its own.
    """

    name: str
    twin: str
    paths: Callable[[Tensor, Tensor, Tensor], Tensor]
    least: float
    legal: Callable[[float, float], bool]


def _adamw(b1: Tensor, b2: Tensor, grads: Tensor) -> Tensor:
    m = v = moved = torch.zeros(len(b1), grads.shape[1], dtype=grads.dtype)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g.square()
        moved = moved - m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + 1e-12)
    return moved


def _lion(b1: Tensor, b2: Tensor, grads: Tensor) -> Tensor:
    m = moved = torch.zeros(len(b1), grads.shape[1], dtype=grads.dtype)
    for g in grads:
        moved = moved - (b1 * m + (1 - b1) * g).sign()
        m = b2 * m + (1 - b2) * g
    return moved


def _sgd(b1: Tensor, b2: Tensor, grads: Tensor) -> Tensor:
    """Return SGD with momentum b1; b2 is how far it looks ahead: heavy ball if it is 0, else Nesterov."""
    m = moved = torch.zeros(len(b1), grads.shape[1], dtype=grads.dtype)
    for g in grads:
        m = b1 * m + g
        moved = moved - torch.where(b2 > 0, g + b1 * m, m)
    return moved


FAMILIES = (
    Family("AdamW", "adamw", _adamw, 0.999999, lambda b1, b2: b1 > 0.2),
    Family("Lion", "lion", _lion, 0.9995, lambda b1, b2: abs(b1 - b2) > 0.01),
    Family("SGD with momentum", "torch.optim.SGD", _sgd, 0.999999, lambda b1, b2: b1 > 0.04),
)
"""Lion with equal rates is the sign of a momentum, AdamW without the first RMSprop: other methods."""


class Fit(NamedTuple):
    """A member of a family and how close it is: the cosine of the displacements."""

    family: Family
    rates: tuple[float, float]
    likeness: float

    @property
    def close(self) -> bool:
        """Whether the path is one of the family."""
        return self.likeness >= self.family.least

    def __str__(self) -> str:
        return f"{self.family.name} with decay rates {self.rates[0]:.3g} and {self.rates[1]:.4g}"


def fits(path: Tensor, steps: Sequence[Sequence[Tensor]]) -> list[Fit]:
    """Return the closest member of each family.

    Args:
        path: the displacement of all elements.
        steps: the gradients that led there, one list for each step.
    """
    grads = torch.stack([torch.cat([g.flatten() for g in step]) for step in steps])
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(path), generator=generator)[:CHOSEN]
    return [_fit(family, path[chosen], grads[:, chosen]) for family in FAMILIES]


def _fit(family: Family, path: Tensor, grads: Tensor) -> Fit:
    best = _best(family, path, grads, [(a, b) for a in USUAL for b in USUAL])
    spread = 0.5  # of 1 - rate
    for _ in range(ROUNDS):
        factors = [1 - spread, 1 - spread / 2, 1.0, 1 + spread / 2, 1 + spread]
        sides = [[1 - (1 - rate) * factor for factor in factors] for rate in best.rates]
        near = [(a, b) for a in sides[0] for b in sides[1] if 0 <= a < 1 and 0 <= b < 1]
        best = max(best, _best(family, path, grads, near), key=lambda fit: fit.likeness)
        spread /= FINER
    return best


def _best(family: Family, path: Tensor, grads: Tensor, rates: Rates) -> Fit:
    legal = [pair for pair in rates if family.legal(*pair)]
    if not legal:
        return Fit(family, (0.0, 0.0), -1.0)
    b1, b2 = torch.tensor(legal, dtype=grads.dtype).T[:, :, None]
    likeness = torch.cosine_similarity(family.paths(b1, b2, grads), path[None], dim=1)
    index = int(likeness.argmax())
    return Fit(family, legal[index], float(likeness[index]))
