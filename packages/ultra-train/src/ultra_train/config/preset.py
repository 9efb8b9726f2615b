"""A whole preset: as a file may write it, and as it is after loading."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from ultra_blocks.config import UltraConfig
from ultra_core.config import unstructure
from ultra_train.config.integrations import MlflowConfig
from ultra_train.config.keys import key
from ultra_train.config.optimizer import FLAT_KEYS
from ultra_train.config.sections import Meta, TokenizerConfig
from ultra_train.config.training import TrainingConfig

FOLDED = ("use_moe", "ffn_activation")
"""Shorthands of the model that its canonical form writes out in ``ffn``."""


class LoadedPreset(Protocol):
    """A checked preset of any form, also a pipeline, in canonical form, with every default filled in."""

    @property
    def name(self) -> str:
        """Name of the installed preset, or of the file without its ending."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """Lines to show before a run: keys without effect, other names, data that is elsewhere."""
        ...

    def to_tree(self) -> dict[str, Any]:
        """Return the keys as plain data, without those that are only another spelling."""
        ...


@attrs.frozen(kw_only=True, slots=False)
class PresetFile:
    """The sections of a preset that trains an encoder or continues a base model."""

    meta: Meta = key(help="what list presets shows; no effect on a run", factory=Meta)
    model_class: str | None = key(None, "name of a model plugin; with model")
    model: UltraConfig | None = key(None, "the encoder")
    base_model: str | None = key(None, "hub id or path of a finished model; excludes model_class and model")
    tokenizer: TokenizerConfig | None = key(None, "the tokenizer")
    training: TrainingConfig = key(help="task, data, optimizer, schedule, guards")
    mlflow: MlflowConfig | None = key(None, "settings of the MLflow integration")


@attrs.frozen(kw_only=True, slots=False)
class Preset(PresetFile):
    """A loaded preset; see ``LoadedPreset``."""

    name: str = attrs.field(default="preset", eq=False)
    notices: tuple[str, ...] = attrs.field(default=(), eq=False)

    @property
    def task(self) -> str:
        """Name of the task plugin that trains it."""
        return self.training.task

    def to_tree(self) -> dict[str, Any]:
        """Return the keys as plain data, without those that are only another spelling."""
        tree = {field.name: unstructure(getattr(self, field.name)) for field in attrs.fields(PresetFile)}
        _drop(tree["training"], FLAT_KEYS)
        if tree["model"] is not None:
            _drop(tree["model"], FOLDED)
        return tree


def _drop(section: dict[str, Any], keys: tuple[str, ...]) -> None:
    for name in keys:
        assert section.pop(name) is None
