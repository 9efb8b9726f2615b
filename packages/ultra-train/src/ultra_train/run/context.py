"""What hooks and callbacks see of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from ultra_train.config import Preset, TrainingConfig
from ultra_train.hf.compilation import Graphs
from ultra_train.tasks.base import TaskRun


@attrs.define(kw_only=True)
class Run:
    """A run.

    Attributes:
        path: folder of the run.
        config: its resolved configuration.
        task: its task, with the data and the tokenizer.
        fit_memory: whether micro-batches are divided when memory runs out.
        model: the model; None until it is built.
        trainer: the trainer; None until it is built.
        graphs: the compiled graphs of the model; None when it is not compiled.
    """

    path: Path
    config: Preset
    task: TaskRun[Any]
    fit_memory: bool = False
    model: Any = None
    trainer: Any = None
    graphs: Graphs | None = None

    @property
    def training(self) -> TrainingConfig:
        """The keys that the stages of the run read."""
        return self.task.training
