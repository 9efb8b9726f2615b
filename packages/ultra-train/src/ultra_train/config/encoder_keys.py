"""The keys of a preset as the rules, the notices and the canonical form need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ultra_train.config.declared_tasks import DeclaredTasks
from ultra_train.config.form import Written
from ultra_train.config.optimizer_section import OptimizerSection
from ultra_train.config.preset import PresetFile
from ultra_train.config.task_declaration import TaskDeclaration


@attrs.frozen(kw_only=True)
class EncoderKeys:
    """The keys of a preset, with everything derived from them computed once.

    Attributes:
        preset: the sections as written, with the complete model.
        written: the file.
        tasks: the installed tasks.
        task: the one that the preset names; None where it declares nothing or is not installed.
        options: the options of every task that the preset has, by the name of the task.
        roles: learning-rate roles of the parameters of the model's blocks, embeddings and norms.
        optimizers: the optimizer of ``training`` under an empty name, and those in sections of tasks by the
            name of the task.
    """

    preset: PresetFile
    written: Written
    tasks: DeclaredTasks
    task: TaskDeclaration | None
    options: Mapping[str, Any]
    roles: frozenset[str]
    optimizers: Mapping[str, OptimizerSection]
