"""Presets: their keys as attrs classes, what the keys demand of each other, loading, the canonical form."""

from ultra_train.config.canonical import to_tree, to_yaml
from ultra_train.config.load import from_source, load_any, load_preset
from ultra_train.config.preset import Preset, SparsePreset
from ultra_train.config.sections import Meta, TokenizerConfig
from ultra_train.config.training import TrainingConfig

__all__ = [
    "Meta",
    "Preset",
    "SparsePreset",
    "TokenizerConfig",
    "TrainingConfig",
    "from_source",
    "load_any",
    "load_preset",
    "to_tree",
    "to_yaml",
]
