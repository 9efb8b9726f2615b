"""Presets: their keys as attrs classes, the stages of loading, the canonical form, the JSON Schema."""

from ultra_train.config.canonical import to_tree, to_yaml
from ultra_train.config.load import from_source, load_any, load_preset
from ultra_train.config.preset import LoadedPreset, Preset
from ultra_train.config.sections import Meta, TokenizerConfig
from ultra_train.config.training import TrainingConfig

__all__ = [
    "LoadedPreset",
    "Meta",
    "Preset",
    "TokenizerConfig",
    "TrainingConfig",
    "from_source",
    "load_any",
    "load_preset",
    "to_tree",
    "to_yaml",
]
