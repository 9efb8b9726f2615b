"""A whole preset: as a file may write it, and as it is after loading."""

from __future__ import annotations

from typing import Literal

import attrs

from ultra_blocks.config import UltraConfig
from ultra_train.config.integrations import MlflowConfig
from ultra_train.config.keys import key
from ultra_train.config.sections import Meta, TokenizerConfig
from ultra_train.config.sparse import (
    ModelCard,
    SparseDataset,
    SparseEvaluation,
    SparseHardware,
    SparseLoss,
    SparseModel,
    SparseRouter,
    SparseTraining,
)
from ultra_train.config.training import TrainingConfig


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
    """A loaded preset: checked, in canonical form, every default filled in.

    Attributes:
        name: name of the installed preset, or of the file without its ending.
        notices: lines to show before a run: keys that are set and have no effect in it.
    """

    name: str = attrs.field(default="preset", eq=False)
    notices: tuple[str, ...] = attrs.field(default=(), eq=False)


@attrs.frozen(kw_only=True, slots=False)
class SparseFile:
    """The sections of a preset for a sparse encoder: one with ``model.architecture``."""

    meta: Meta = key(help="what list presets shows; no effect on a run", factory=Meta)
    model: SparseModel = key(help="base model and architecture")
    training: SparseTraining = key(help="training arguments", factory=SparseTraining)
    loss: SparseLoss = key(help="the loss", factory=SparseLoss)
    datasets: dict[str, SparseDataset | Literal["round_robin", "proportional"]] = key(
        help="sampling_strategy, and data sets by name", any_case=True
    )
    evaluation: SparseEvaluation = key(help="evaluation", factory=SparseEvaluation)
    router: SparseRouter = key(help="routes and learning rates", factory=SparseRouter)
    model_card: ModelCard = key(help="fields of the model card", factory=dict)
    hardware: SparseHardware = key(help="the device", factory=SparseHardware)
    mlflow: MlflowConfig | None = key(None, "settings of the MLflow integration")

    @property
    def task(self) -> str:
        """Name of the task plugin that trains it."""
        return self.model.architecture.replace("-", "_")


@attrs.frozen(kw_only=True, slots=False)
class SparsePreset(SparseFile):
    """A loaded sparse preset; see `Preset`."""

    name: str = attrs.field(default="preset", eq=False)
    notices: tuple[str, ...] = attrs.field(default=(), eq=False)
