"""The section ``training`` of a preset that trains an encoder or continues a base model."""

from __future__ import annotations

import attrs

from ultra_train.config.data import DataKeys
from ultra_train.config.guards import GuardKeys
from ultra_train.config.keys import key
from ultra_train.config.optimizer import OptimizerKeys
from ultra_train.config.run import CheckpointKeys, ComputeKeys, ReportKeys, ScheduleKeys
from ultra_train.config.sbert import SbertConfig


@attrs.frozen(kw_only=True, slots=False)
class TaskKeys:
    """What is trained."""

    task: str = key("mlm", "name of a task plugin")
    sbert: SbertConfig | None = key(None, "what the task sbert reads", tasks=("sbert",))


@attrs.frozen(kw_only=True, slots=False)
class TrainingConfig(
    ReportKeys, ComputeKeys, GuardKeys, CheckpointKeys, ScheduleKeys, OptimizerKeys, DataKeys, TaskKeys
):
    """Every key of ``training``; the groups it inherits from are one theme each.

    After loading, ``optimizer``, ``dataset`` (a tuple of sources), ``max_steps``, ``eval_every_n_steps`` and
    ``precision`` are filled in and the flat optimizer keys are None.
    """
