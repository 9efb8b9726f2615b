"""Optimizers, parameter roles and learning-rate schedules for PyTorch encoders."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultra_optim.adamw import AdamW
    from ultra_optim.factory import build
    from ultra_optim.groups import describe, param_groups
    from ultra_optim.lamb import LAMB
    from ultra_optim.lion import Lion
    from ultra_optim.muon import Muon
    from ultra_optim.sgd_momentum import SGDMomentum

__all__ = ["LAMB", "AdamW", "Lion", "Muon", "SGDMomentum", "build", "describe", "param_groups"]

_HOMES = {"build": "factory", "describe": "groups", "param_groups": "groups", "SGDMomentum": "sgd_momentum"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``ultra_optim.schedules`` and the preset keys need no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'ultra_optim' has no attribute {name!r}")
    return getattr(import_module(f"ultra_optim.{_HOMES.get(name, name.lower())}"), name)
