"""The hooks of a trial, which hold it to its budget and count what it spends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_core import schedules
from ultra_core.plugins.hooks import hookimpl
from ultra_train.compare.budget import CHECKPOINTS, EVALUATIONS, Budget
from ultra_train.config import TrainingConfig

_RESOLUTION = 10_000
"""Steps of a schedule that follows the spent share of a budget instead of updates."""


class BudgetHooks:
    """A hook plugin that holds a run to a budget; its ``totals`` are there when the run is finished.

    Args:
        budget: what the run may spend.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.trainer: Any = None

    @hookimpl
    def ultra_callbacks(self, run: Any) -> list[Any]:
        """Let the schedule follow the budget, and return the callback that ends the run with it."""
        self.trainer = run.trainer
        if self.budget.unit != "steps":
            run.trainer.settings.schedule = spent_schedule(
                run.config.training, lambda: self.budget.share(run.trainer)
            )
        return [BudgetCallback(run.trainer, self.budget)]

    @property
    def totals(self) -> dict[str, Any]:
        """What the run spent."""
        trainer = self.trainer
        return {
            "updates": trainer.state.global_step,
            "tokens": trainer.tokens_seen,
            "seconds": trainer.training_seconds,
            "dropped": trainer.gate.dropped,
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
        }


def spent_schedule(training: TrainingConfig, share: Callable[[], float]) -> Callable[[int], float]:
    """Return a preset's schedule as a function of the spent share of a budget.

    Args:
        training: the section of the preset; the schedule and its warm-up.
        share: returns the spent share.
    """
    warmup = round(_RESOLUTION * training.scheduler_warmup_ratio)
    factor = schedules.get(training.scheduler_type)(total_steps=_RESOLUTION, warmup_steps=warmup)
    return lambda _: float(factor(min(_RESOLUTION - 1, int(share() * _RESOLUTION))))


class BudgetCallback(TrainerCallback):
    """Ends a run whose budget counts tokens or minutes, and evaluates and saves at equal parts of it.

    Optimizers that follow the number of updates (AdEMAMix) are told the one that the spent part suggests.

    Args:
        trainer: an ``UltraTrainerMixin``.
        budget: the budget.
    """

    def __init__(self, trainer: Any, budget: Budget) -> None:
        self.trainer = trainer
        self.budget = budget
        self.before = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note how much a resumed run has spent."""
        self.before = self.budget.share(self.trainer)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Log the last update; evaluate, save and stop where the budget says so."""
        before, share = self.before, self.budget.share(self.trainer)
        self.before = share
        if share >= 1:
            control.should_log = True
        if self.budget.unit == "steps" or self.trainer.gate.objection is not None:
            return
        for group in self.trainer.optimizer.param_groups:
            if "total_steps" in group:
                group["total_steps"] = max(1, round(state.global_step / share))
        if share >= 1:
            control.should_training_stop = True
        else:
            control.should_evaluate |= int(before * EVALUATIONS) < int(share * EVALUATIONS)
            control.should_save |= int(before * CHECKPOINTS) < int(share * CHECKPOINTS)
