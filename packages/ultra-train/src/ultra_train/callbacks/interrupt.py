"""Stopping a run on a signal: it finishes the update, saves a checkpoint, and stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.system.signals import Signals
from ultra_train.trainer.mixin import UltraTrainerMixin


class InterruptCallback(TrainerCallback):
    """Turns the first signal into a checkpoint and a clean stop.

    An evaluation that is due at that update is left to the resumed run, since the sender may not wait for it.

    Args:
        trainer: an ``UltraTrainerMixin``.
        signals: the signals of the run.
        notify: is called with a line when the run is about to stop; None where no user is waiting.
    """

    def __init__(
        self, trainer: UltraTrainerMixin, signals: Signals, notify: Callable[[str], None] | None = None
    ) -> None:
        self.trainer = trainer
        self.signals = signals
        self.notify = notify

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Defer signals to the end of the update, and run an evaluation that an earlier signal prevented."""
        self.signals.deferred = True
        if self.trainer.evaluation_due:
            self.trainer.evaluate_overdue()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the user that a signal was received."""
        if self.signals.received is not None and self.notify is not None:
            self.notify(
                "Stopping: the update is finished and a checkpoint is saved. Once more stops at once."
            )
            self.notify = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop after a signal; after the last update there is nothing to stop."""
        if self.signals.received is not None and state.global_step < state.max_steps:
            self.trainer.evaluation_due = control.should_evaluate
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop after a signal during the evaluation."""
        if self.signals.received is not None and self.trainer.is_in_train:
            control.should_save = control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop after a signal that was received while the checkpoint of this update was written."""
        if self.signals.received is not None:
            control.should_training_stop = True

    def release(self) -> None:
        """Let signals end the run at once from now on."""
        self.signals.deferred = False
