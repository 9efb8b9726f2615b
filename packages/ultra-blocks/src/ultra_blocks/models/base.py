"""What an entry of ``ultra.models`` is: a named set of defaults and the class that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig


@attrs.frozen(kw_only=True)
class ModelPlugin:
    """A model class of presets, and what its fields are when a preset does not say; torch-free.

    Attributes:
        name: value of ``model_class``.
        summary: one line.
        defaults: fields of :class:`UltraConfig` that differ from the seeds' defaults.
        model_class: ``module:class`` of the transformers model that is trained and saved.
    """

    name: str
    summary: str
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    model_class: str = "ultra_blocks.hf:UltraForMaskedLM"

    def config(self, **fields: Any) -> UltraConfig:
        """Return the config of a model: the fields given, the rest as this model class has them."""
        return UltraConfig(**{**self.defaults, **fields})

    def load(self) -> Any:
        """Import and return the class that is trained; it is built with its ``config_class``."""
        module, _, name = self.model_class.partition(":")
        return getattr(import_module(module), name)
