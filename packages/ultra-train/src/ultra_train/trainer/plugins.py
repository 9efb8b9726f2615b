"""From the keys of a preset to the optimizer and the schedule that the trainer uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import Optimizer

import ultra_optim
from ultra_core import schedules
from ultra_core.contracts import SEED_ROLES
from ultra_core.errors import UltraError
from ultra_optim.roles.preset_keys import parse_parameters
from ultra_train.config.training import TrainingConfig


def optimizer_builder(
    training: TrainingConfig, *, updates: int | None = None
) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a function that builds the preset's optimizer over modules.

    Values for roles that no parameter has are left out; the preset's notices have listed them.

    Args:
        training: the preset's section.
        updates: how many the run has, which optimizers with a schedule of their own (AdEMAMix) follow to its
            end; None where data that could end it earlier are not known. The learning rate follows
            ``scheduler_total_steps`` whatever this is.
    """
    updates = updates or training.max_steps or training.scheduler_total_steps

    def build(modules: Sequence[nn.Module]) -> Optimizer:
        config = training.optimizer
        if config is None:
            raise UltraError("the preset names no optimizer: set training.optimizer.optimizer_class")
        present = {info.role for info in ultra_optim.describe(modules).values()}
        parsed = parse_parameters(config.optimizer_class, config.parameters, roles=present | set(SEED_ROLES))
        if parsed.faults:
            raise UltraError("; ".join(f"training.optimizer.parameters.{k}: {m}" for k, m in parsed.faults))
        return ultra_optim.build(
            config.optimizer_class,
            modules,
            roles={role: values for role, values in parsed.roles.items() if role in present},
            **{"total_steps": updates, **parsed.options},
        )

    return build


def schedule(training: TrainingConfig) -> Callable[[int], float]:
    """Return the factor of the preset's schedule after a number of updates."""
    total = training.scheduler_total_steps
    factory = schedules.get(training.scheduler_type)
    factor: Callable[[int], float] = factory(
        total_steps=total, warmup_steps=round(total * training.scheduler_warmup_ratio)
    )
    return factor
