"""The registries, one for each kind of plugin."""

from __future__ import annotations

from ultra_core.plugins.preset_files import Presets
from ultra_core.plugins.registry import Registry

blocks = Registry("ultra.blocks", "block")
norms = Registry("ultra.norms", "norm")
ffns = Registry("ultra.ffns", "ffn")
positions = Registry("ultra.positions", "position code")
optimizers = Registry("ultra.optimizers", "optimizer")
schedules = Registry("ultra.schedules", "schedule")
models = Registry("ultra.models", "model class")
tasks = Registry("ultra.tasks", "task")
presets = Presets("ultra.presets", "preset")

KINDS: dict[str, Registry] = {
    "blocks": blocks,
    "norms": norms,
    "ffns": ffns,
    "positions": positions,
    "optimizers": optimizers,
    "schedules": schedules,
    "models": models,
    "tasks": tasks,
    "presets": presets,
}
"""Every registry by its plural name, in the order of ``ultra-train list``."""
