"""Registries, hooks and strict configuration of the ultra encoder toolkit; importing it imports no torch."""

from ultra_core.registry import blocks, ffns, models, norms, optimizers, positions, schedules, tasks

__all__ = ["blocks", "ffns", "models", "norms", "optimizers", "positions", "schedules", "tasks"]
