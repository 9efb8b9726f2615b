"""From the keys of a preset to the optimizer and the schedule that the trainer uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import Optimizer

from ultra_core import schedules
from ultra_train.config.optimizer_build import build_optimizer
from ultra_train.config.training import TrainingConfig


def optimizer_builder(
    training: TrainingConfig, *, updates: int | None = None
) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a function that builds the preset's optimizer over modules.

    Hyperparameters of roles that no parameter has are ignored; the notices of the preset list them.

    Args:
        training: the section ``training`` of the preset.
        updates: number of updates of the run, over which optimizers with a schedule of their own (AdEMAMix)
            run it; None when the data, which may end the run earlier, are not known yet. The learning rate
            follows ``scheduler_total_steps`` in any case.
    """
    count = updates or training.max_steps or training.scheduler_total_steps
    return lambda modules: build_optimizer(training.optimizer, modules, updates=count)


def schedule(training: TrainingConfig) -> Callable[[int], float]:
    """Return the preset's schedule: the factor of the learning rate after a number of updates."""
    total = training.scheduler_total_steps
    factory = schedules.get(training.scheduler_type)
    factor: Callable[[int], float] = factory(
        total_steps=total, warmup_steps=round(total * training.scheduler_warmup_ratio)
    )
    return factor
