"""The keys of the section ``training`` that every run has."""

from __future__ import annotations

import attrs

from ultra_train.config.data import DataKeys
from ultra_train.config.guards import GuardKeys
from ultra_train.config.keys import key
from ultra_train.config.optimizer import OptimizerKeys
from ultra_train.config.run import CheckpointKeys, ComputeKeys, ReportKeys, ScheduleKeys


@attrs.frozen(kw_only=True, slots=False)
class TaskKeys:
    """What is trained."""

    task: str = key(help="name of a task plugin")


@attrs.frozen(kw_only=True, slots=False)
class TrainingConfig(
    ReportKeys, ComputeKeys, GuardKeys, CheckpointKeys, ScheduleKeys, OptimizerKeys, DataKeys, TaskKeys
):
    """The keys of ``training`` that every run has; each group that it inherits from has one theme.

    A preset is read as a subclass with the keys of the installed tasks, see ``ultra_train.config.task_keys``.
    After loading, ``optimizer``, ``dataset`` (a tuple of sources), ``max_steps``, ``eval_every_n_steps`` and
    ``report_to`` are filled in and the flat optimizer keys are None.
    """
