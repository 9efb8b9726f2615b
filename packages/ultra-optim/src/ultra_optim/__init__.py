"""Optimizers, parameter roles and learning-rate schedules for PyTorch encoders."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultra_optim.public import *  # noqa: F403  for type checkers and editors

FUNCTIONS = ("build", "create", "describe", "param_groups")


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``ultra_optim.schedules`` and the preset keys need no torch."""
    if name in FUNCTIONS or name[:1].isupper():
        public = import_module("ultra_optim.public")
        if name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module 'ultra_optim' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names too, for completion; this imports torch."""
    here = {name for name, value in globals().items() if name[:2] == "__" or isinstance(value, ModuleType)}
    return sorted(here | {*import_module("ultra_optim.public").__all__})
