"""The updates of our optimizers that are marked as compilable, and arguments to try them with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ultra_optim.public  # noqa: F401  every optimizer marks its updates
from ultra_optim.engine import compilation

UPDATES = sorted(
    (update for update in compilation.marked() if update.__module__.startswith("ultra_optim.")),
    key=lambda update: update.__name__,
)

FLAGS = frozenset({"cautious", "nesterov"})
"""Names of arguments that are flags."""

NUMBERS = frozenset({"factors", "ratios", "scales"})
"""Names of columns that have one element."""

POSITIVE = NUMBERS | {"second", "curvatures"}
"""Names of columns of positive numbers."""


def arguments(update: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of an update's columns, and numbers for it, all different."""
    parameters = inspect.signature(update).parameters.values()
    columns = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):  # those of adamw_update
        names += ["step_size", "w1", "w2", "eps", "decay", "cautious"]
    return columns, {name: False if name in FLAGS else 0.01 * (3 + i) for i, name in enumerate(names)}


def columns_of(names: list[str], size: int, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Return a row: a parameter of ``size`` elements, its gradient and state."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(() if n in NUMBERS else size, generator=generator, dtype=dtype) for n in names]
    return [t.abs() if name in POSITIVE else t for name, t in zip(names, made, strict=True)]
