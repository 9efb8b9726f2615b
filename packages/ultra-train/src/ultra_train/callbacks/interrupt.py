"""Stopping a run on a signal: it finishes the update, saves a checkpoint, and stops."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.system.signals import Signals
from ultra_train.trainer.mixin import UltraTrainerMixin


class InterruptCallback(TrainerCallback):
    """Turns the first signal, of any process, into a checkpoint and a clean stop of all processes.

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
        trainer.agreement.watch("signal", lambda: float(signals.received or 0))

    @property
    def number(self) -> int | None:
        """The signal that stops the run, on all processes; None when there was none."""
        return int(self.trainer.agreement.agreed("signal")) or None

    @property
    def name(self) -> str | None:
        """Its name."""
        return None if self.number is None else signal.Signals(self.number).name

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

    def on_agreed(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop after a signal; after the last update there is nothing to stop."""
        if self.number is None or state.global_step >= state.max_steps:
            return
        if control.should_evaluate:
            self.trainer.evaluation_due, control.should_evaluate = True, False
        if self.trainer.last_saved != state.global_step:
            control.should_save = True
        control.should_training_stop = True

    def release(self) -> None:
        """Let signals end the run at once from now on."""
        self.signals.deferred = False
