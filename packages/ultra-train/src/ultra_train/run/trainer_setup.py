"""The trainer of a run, from the keys of its preset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainingArguments

from ultra_train.config import to_yaml
from ultra_train.config.training import TrainingConfig
from ultra_train.run.arguments import training_arguments
from ultra_train.run.callbacks import Callbacks, add_callbacks
from ultra_train.run.context import Run
from ultra_train.run.facts import package_versions
from ultra_train.run.process import RunProcess
from ultra_train.run.records import Records
from ultra_train.run.strategy import pick_strategy
from ultra_train.system import run_files
from ultra_train.system.files import expand_user
from ultra_train.tasks.base import TaskRun
from ultra_train.trainer.checkpoints.folders import Checkpoint
from ultra_train.trainer.checkpoints.resume import read_progress
from ultra_train.trainer.checkpoints.retention import RetentionPolicy
from ultra_train.trainer.guards import Guard
from ultra_train.trainer.plugins import optimizer_builder, schedule
from ultra_train.trainer.rollbacks import Rollbacks
from ultra_train.trainer.settings import TrainerSettings
from ultra_train.trainer.storage import StorageManager
from ultra_train.trainer.stream import EndlessBatches


def set_up_trainer(
    run: Run, process: RunProcess, records: Records, checkpoint: Checkpoint | None
) -> Callbacks:
    """Build the trainer of a run whose model is built, and return the callbacks that the run needs.

    Raises:
        UltraError: the disk or the storage budget has too little room for the checkpoints.
    """
    run.trainer = trainer = _build_trainer(run, process, records, checkpoint)
    if run.graphs is not None:
        run.graphs.metrics = trainer.extra_metrics
    callbacks = add_callbacks(run, process, records)
    if process.main:
        _check_room(run)
    return callbacks


def _build_trainer(run: Run, process: RunProcess, records: Records, checkpoint: Checkpoint | None) -> Any:
    task, here = run.task, process.here
    evaluation = task.evaluation()
    loader = task.loader()
    updates = task.steps(loader, world_size=here.count)
    window = task.training.gradient_accumulation_steps * here.count
    training = task.fitted(updates, len(loader) / window)
    rollbacks = here.share(_rollbacks(run, checkpoint, process.say) if process.main else None)
    retention = _retention(training, evaluates=evaluation is not None)
    settings = TrainerSettings(
        stream=EndlessBatches(loader, rollbacks.skipped, here),
        build_optimizer=optimizer_builder(training, updates=updates),
        schedule=schedule(training),
        rollbacks=rollbacks,
        fit_memory=run.fit_memory,
        run_folder=run.path,
        guard=_guard(task),
        retention=retention,
        files={run_files.CONFIG: to_yaml(run.config)},
        facts={"packages": package_versions(), **task.facts()},
        storage=StorageManager(
            run.path,
            budget_gb=training.storage_budget_gb,
            cache_dir=expand_user(training.cache_dir),
            in_use=task.caches(),
            retention=retention,
            say=process.say,
        ),
        disk=records.disk,
        sharded=here.several and pick_strategy(training) == "fsdp",
        on_event=records.event,
        on_saved=lambda path: process.plugins.hook.ultra_checkpoint_saved(run=run, path=path),
    )
    arguments = training_arguments(
        training,
        device=process.device,
        folder=run.path / run_files.CHECKPOINTS,
        max_steps=updates,
        evaluates=evaluation is not None,
        kind=getattr(task.trainer_class, "training_args_class", TrainingArguments),
        more=task.arguments(),
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


def _check_room(run: Run) -> None:
    """Refuse a run whose checkpoints would not fit on the disk or into its storage budget.

    Raises:
        UltraError: there is too little room; the message says how much there is.
    """
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
    run.trainer.settings.storage.make_room(3 * weights)


def _guard(task: TaskRun[Any]) -> Guard:
    training = task.training
    given = training.inf_post_clip_threshold
    return Guard(
        threshold=task.largest_gradient_norm if given is None else given,
        patience=training.max_nan_retries,
        scan_every=training.nan_check_interval,
    )


def _retention(training: TrainingConfig, *, evaluates: bool) -> RetentionPolicy:
    greater = training.greater_is_better
    return RetentionPolicy(
        newest=training.max_rolling_checkpoints,
        best=training.num_best_checkpoints if evaluates else 0,
        metric=training.best_metric,
        greater_is_better=not training.best_metric.endswith(("loss", "perplexity"))
        if greater is None
        else greater,
    )
