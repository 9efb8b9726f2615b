"""A whole preset of a sparse encoder: as a file may write it, and as it is after loading."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from ultra_core.config import unstructure
from ultra_train.config.integrations import MlflowConfig
from ultra_train.config.keys import key
from ultra_train.config.sections import Meta
from ultra_train.tasks.sparse.sections import (
    ModelCard,
    SparseDataset,
    SparseEvaluation,
    SparseHardware,
    SparseLoss,
    SparseModel,
    SparseRouter,
    SparseTraining,
    keys_of,
)


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
    """A loaded preset of a sparse encoder; see ``ultra_train.config.LoadedPreset``."""

    name: str = attrs.field(default="preset", eq=False)
    notices: tuple[str, ...] = attrs.field(default=(), eq=False)

    def to_tree(self) -> dict[str, Any]:
        """Return the keys as plain data; a data set has only the keys that it may have."""
        tree: dict[str, Any] = unstructure(self)
        for internal in ("name", "notices"):
            del tree[internal]
        for name, section in tree["datasets"].items():
            if isinstance(section, dict):
                tree["datasets"][name] = {key: section[key] for key in section if key in keys_of(name)}
        return tree
