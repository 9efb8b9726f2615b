"""The trainer of a run, from the keys of its preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ultra_train.config import to_yaml
from ultra_train.config.training import TrainingConfig
from ultra_train.run.arguments import training_arguments
from ultra_train.run.context import Run
from ultra_train.run.strategy import pick_strategy
from ultra_train.system import run_files
from ultra_train.system.disk_space import DiskSpace
from ultra_train.system.files import expand_user
from ultra_train.system.processes import Processes
from ultra_train.trainer.checkpoints.folders import Checkpoint
from ultra_train.trainer.checkpoints.resume import read_progress
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.guards import Guard
from ultra_train.trainer.plugins import optimizer_builder, schedule
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.storage import StorageManager
from ultra_train.trainer.stream import EndlessBatches

PACKAGES = ("ultra-core", "ultra-blocks", "ultra-optim", "ultra-train", "torch", "transformers")
"""The packages whose versions a checkpoint records."""


def build_trainer(
    run: Run,
    *,
    here: Processes,
    device: torch.device,
    checkpoint: Checkpoint | None,
    disk: DiskSpace,
    on_event: Callable[[Mapping[str, Any]], None],
    on_saved: Callable[[Path], None],
    say: Callable[[str], None],
) -> Any:
    """Return the trainer of a run whose model is built.

    Args:
        run: the run.
        here: this process.
        device: the device of the run.
        checkpoint: the checkpoint to resume from; None for a new run.
        disk: waits for room when the disk is full.
        on_event: called with dropped updates, rollbacks and notices.
        on_saved: called with the path of every finished checkpoint.
        say: prints a line.
    """
    task, training = run.task, run.config.training
    evaluation = task.evaluation()
    loader = task.loader()
    updates = task.steps(loader, world_size=here.count)
    rollbacks = here.share(_rollbacks(run, checkpoint, say) if here.main else None)
    retention = _retention(training, evaluates=evaluation is not None)
    settings = TrainerSettings(
        stream=EndlessBatches(loader, rollbacks.skipped, here),
        build_optimizer=optimizer_builder(training, updates=updates),
        schedule=schedule(training),
        rollbacks=rollbacks,
        fit_memory=run.fit_memory,
        run_folder=run.path,
        guard=_guard(training),
        retention=retention,
        files={run_files.CONFIG: to_yaml(run.config)},
        facts={"packages": {package: version(package) for package in PACKAGES}, **task.facts()},
        storage=StorageManager(
            run.path,
            budget_gb=training.storage_budget_gb,
            cache_dir=expand_user(training.cache_dir),
            in_use=task.caches(),
            retention=retention,
            say=say,
        ),
        disk=disk,
        sharded=here.several and pick_strategy(training) == "fsdp",
        on_event=on_event,
        on_saved=on_saved,
    )
    arguments = training_arguments(
        training,
        device=device,
        folder=run.path / run_files.CHECKPOINTS,
        max_steps=updates,
        evaluates=evaluation is not None,
    )
    return task.trainer_class(
        model=run.model,
        args=arguments,
        settings=settings,
        eval_dataset=evaluation,
        processing_class=task.tokenizer,
        **task.trainer_options(),
    )


def _rollbacks(run: Run, checkpoint: Checkpoint | None, say: Callable[[str], None]) -> Rollbacks:
    recorded = read_progress(checkpoint.path).get("rollbacks") if checkpoint is not None else None
    return Rollbacks.read(run.path / run_files.ROLLBACKS, checkpoint=recorded, notify=say)


def check_room(run: Run) -> None:
    """Refuse a run whose checkpoints would not fit on the disk or into its storage budget.

    Raises:
        UltraError: there is too little room; the message says how much there is.
    """
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
    run.trainer.settings.storage.make_room(3 * weights)


def _guard(training: TrainingConfig) -> Guard:
    return Guard(
        threshold=training.inf_post_clip_threshold,
        patience=training.max_nan_retries,
        scan_every=training.nan_check_interval,
    )


def _retention(training: TrainingConfig, *, evaluates: bool) -> RetentionPolicy:
    return RetentionPolicy(
        newest=training.max_rolling_checkpoints,
        best=training.num_best_checkpoints if evaluates else 0,
        metric=training.best_metric,
        greater_is_better=not training.best_metric.endswith(("loss", "perplexity")),
    )
