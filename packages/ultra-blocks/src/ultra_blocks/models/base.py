"""ModelPlugin, an entry of ``ultra.models``: named defaults of a config and the class that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig


@attrs.frozen(kw_only=True)
class ModelPlugin:
    """A model class of presets and the defaults of its fields; imports no torch.

    Attributes:
        name: value of ``model_class``.
        summary: one line of description.
        defaults: fields of :class:`UltraConfig` whose defaults differ.
        model_class: ``module:class`` of the transformers model that is trained and saved.
    """

    name: str
    summary: str
    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    model_class: str = "ultra_blocks.hf:UltraForMaskedLM"

    def config(self, **fields: Any) -> UltraConfig:
        """Return a config with the given fields and the defaults of this model class."""
        return UltraConfig(**{**self.defaults, **fields})

    def load(self) -> Any:
        """Import and return the class that is trained; its constructor takes its ``config_class``."""
        module, _, name = self.model_class.partition(":")
        return getattr(import_module(module), name)
