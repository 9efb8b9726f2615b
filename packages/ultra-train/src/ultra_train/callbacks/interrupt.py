"""A signal stops a run: it finishes its update, saves a checkpoint, and stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.system.signals import Signals


class InterruptCallback(TrainerCallback):
    """Turns the first signal into one checkpoint and a clean stop.

    An evaluation that is due at that update is left to the run that goes on: who sends a signal may not wait.

    Args:
        trainer: an ``UltraTrainerMixin``.
        signals: the signals of the run.
        say: says that the run is about to stop, where somebody waits for it; None where nobody does.
    """

    def __init__(self, trainer: Any, signals: Signals, say: Callable[[str], None] | None = None) -> None:
        self.trainer = trainer
        self.signals = signals
        self.say = say

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let signals wait for the end of the update, and evaluate if the run stopped before it did."""
        self.signals.waiting = True
        if self.trainer.evaluation_due:
            self.trainer.evaluate_overdue()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say that a signal came."""
        if self.signals.received is not None and self.say is not None:
            self.say("Stopping: the update is finished and a checkpoint is saved. Once more stops at once.")
            self.say = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop when a signal came; after the last update there is nothing to stop."""
        if self.signals.received is not None and state.global_step < state.max_steps:
            self.trainer.evaluation_due = control.should_evaluate
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop when a signal came during the evaluation."""
        if self.signals.received is not None and self.trainer.is_in_train:
            control.should_save = control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop when a signal came while a checkpoint was written: there is one of this update now."""
        if self.signals.received is not None:
            control.should_training_stop = True

    def release(self) -> None:
        """Let signals end the run at once from here on."""
        self.signals.waiting = False
