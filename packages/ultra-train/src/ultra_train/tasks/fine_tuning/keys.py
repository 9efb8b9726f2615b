"""From the keys of fine-tuning to those that the stages of a run read."""

from __future__ import annotations

import math
from typing import Any

import attrs

from ultra_core import optimizers
from ultra_optim.contract.traits import traits_of
from ultra_train.config.optimizer import OptimizerConfig
from ultra_train.config.training import TrainingConfig
from ultra_train.tasks.fine_tuning.options import FineTuningKeys

DISPLACED = (
    "batch_size",
    "gradient_accumulation_steps",
    "grad_clip_max_norm",
    "num_epochs",
    "max_samples",
    "scheduler_total_steps",
    "scheduler_warmup_ratio",
    "eval_every_n_steps",
    "checkpoint_every_n_steps",
)
"""Keys of ``training`` that have a counterpart in the section of a task, or follow from those."""


def run_keys(training: TrainingConfig, options: FineTuningKeys) -> TrainingConfig:
    """Return the keys of a run, as far as they do not depend on its length."""
    return attrs.evolve(
        training,
        batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        grad_clip_max_norm=options.max_grad_norm,
        num_epochs=options.epochs,
        hf_output_dir=options.output_dir or training.hf_output_dir,
        use_amp=options.use_amp or training.use_amp,
        optimizer=_optimizer(training, options),
    )


def fitted_keys(
    training: TrainingConfig, options: FineTuningKeys, *, updates: int, per_epoch: float
) -> TrainingConfig:
    """Return the keys of a run whose length is known: the schedule runs over all of it.

    Args:
        training: the keys of the run.
        options: the section of the task.
        updates: of the whole run.
        per_epoch: updates in a pass over the data.
    """
    epoch = math.ceil(per_epoch)
    return attrs.evolve(
        training,
        scheduler_total_steps=updates,
        scheduler_warmup_ratio=min(options.warmup_steps, updates) / updates,
        eval_every_n_steps=options.evaluation_steps or epoch,
        checkpoint_every_n_steps=options.checkpoint_save_steps or epoch,
    )


def updates_of(plan: Any, training: TrainingConfig, *, world_size: int) -> int:
    """Return the updates until the first of ``max_steps`` and ``num_epochs``.

    Args:
        plan: the batches of every epoch.
        training: the keys of the run.
        world_size: number of processes.
    """
    window = training.gradient_accumulation_steps * world_size
    wanted = math.inf if training.max_steps is None else training.max_steps * window
    batches = epoch = 0
    while batches < wanted and epoch != training.num_epochs:  # planning what is not trained takes time
        batches += plan.batches(epoch)
        epoch += 1
    return max(1, math.ceil(min(batches, wanted) / window))


def _optimizer(training: TrainingConfig, options: FineTuningKeys) -> OptimizerConfig:
    """Return the optimizer of the section, or else of ``training``; AdamW where none is named.

    The learning rate of the section holds unless the optimizer finds its own or the parameters give one.
    """
    if options.optimizer is None and training.optimizer is not None:
        return training.optimizer
    config = options.optimizer or OptimizerConfig(optimizer_class="adamw", parameters={})
    name = f"{config.optimizer_class.rpartition(':')[2]}-lr"
    finds_its_own = traits_of(optimizers.get(config.optimizer_class)).one_lr
    if name in config.parameters or finds_its_own:
        return config
    parameters: dict[str, Any] = {name: options.learning_rate, **config.parameters}
    return OptimizerConfig(optimizer_class=config.optimizer_class, parameters=parameters)
