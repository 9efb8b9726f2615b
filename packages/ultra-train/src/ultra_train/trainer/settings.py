"""What a run configures in the trainer beyond transformers' ``TrainingArguments``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import nn
from torch.optim import Optimizer

from ultra_train.system.disk_space import DiskSpace
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.guards import Guard
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.storage import StorageManager
from ultra_train.trainer.stream import EndlessBatches

Event = Mapping[str, Any]


def _ignore(_: Any) -> None:
    return None


@attrs.define(kw_only=True)
class TrainerSettings:
    """Plugins, guards and bookkeeping of one run.

    Attributes:
        stream: the micro-batches to train on.
        build_optimizer: builds the optimizer for the model and for losses that have parameters.
        schedule: factor of the learning rate after a number of updates.
        rollbacks: the record of the run's rollbacks.
        run_folder: folder of the run.
        guard: limits on what an update may look like.
        retention: which checkpoints are kept.
        files: text files that go into every checkpoint, by file name (the resolved preset).
        facts: what the manifest of a checkpoint records (packages, fingerprint of the data).
        storage: the disk space of the run.
        disk: waits for room when the disk is full.
        sharded: whether the processes of the run share the parameters of the model (FSDP).
        fit_memory: divide micro-batches by rows when memory runs out, instead of ending the run.
        on_event: called with dropped updates, rollbacks and notices.
        on_saved: is called with the folder of every finished checkpoint.
    """

    stream: EndlessBatches
    build_optimizer: Callable[[Sequence[nn.Module]], Optimizer]
    schedule: Callable[[int], float]
    rollbacks: Rollbacks
    run_folder: Path
    guard: Guard = attrs.field(factory=Guard)
    retention: RetentionPolicy = attrs.field(factory=RetentionPolicy)
    files: Mapping[str, str] = attrs.field(factory=dict)
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    storage: StorageManager = attrs.field(
        default=attrs.Factory(lambda s: StorageManager(s.run_folder, budget_gb=None), takes_self=True)
    )
    disk: DiskSpace = attrs.field(factory=DiskSpace)
    sharded: bool = False
    fit_memory: bool = False
    on_event: Callable[[Event], None] = _ignore
    on_saved: Callable[[Path], None] = _ignore
