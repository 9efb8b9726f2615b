"""Registries, hooks and strict configuration of the ultra encoder toolkit; importing it imports no torch."""

from ultra_core.plugins.kinds import (
    blocks,
    ffns,
    models,
    norms,
    optimizers,
    positions,
    presets,
    schedules,
    tasks,
)

__all__ = ["blocks", "ffns", "models", "norms", "optimizers", "positions", "presets", "schedules", "tasks"]
