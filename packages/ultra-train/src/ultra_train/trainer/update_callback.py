"""What the trainer does at the end of every update: dropped ones leave no trace, the best are kept."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_blocks.stepping import after_step
from ultra_train.callbacks.metrics import OMITTED
from ultra_train.trainer.checkpoints import folders as checkpoints
from ultra_train.trainer.guards import RollbackNeeded, all_finite
from ultra_train.trainer.settings import learning_rates, unwrapped


class UpdateCallback(TrainerCallback):
    """Runs right after transformers' own flow callback, so that others see what it decided.

    Args:
        trainer: an ``UltraTrainerMixin``.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.said = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to measure speed; a resumed run has seen tokens, and stands within a window of the log."""
        self.trainer.start_clock()
        self.trainer.restore_special_tokens()
        self.trainer.resume_window()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the rates, take back the count of an update that fp16's gradient scaler skipped, tell the
        modules whether there was one, and give the optimizer its curvature if it asks."""
        trainer = self.trainer
        trainer.rates = learning_rates(unwrapped(trainer.optimizer))  # before the schedule moves on
        if trainer.objection is None and trainer.accelerator.optimizer_step_was_skipped:
            trainer.objection = "fp16 overflow; the gradient scaler lowers its scale"
            state.global_step -= 1
        after_step(trainer.model, taken=trainer.objection is None)
        if trainer.objection is None:
            trainer.estimate_curvature()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Undo what a dropped update would trigger, scan the weights, and say where the run stands."""
        trainer, guard = self.trainer, self.trainer.settings.guard
        trainer.training_seconds += time.perf_counter() - trainer.window_started
        state.epoch = trainer.settings.stream.epochs
        if trainer.objection is not None:
            control.should_log = control.should_evaluate = control.should_save = False
            if guard.exhausted:
                last = f"the last because {trainer.objection}"
                raise RollbackNeeded(f"{guard.in_a_row} updates in a row were dropped; {last}")
        elif state.global_step % guard.scan_every == 0 and not trainer.sharded:
            self._scan()

    def _scan(self) -> None:
        if not all_finite(self.trainer.model.parameters()):
            raise RollbackNeeded("weights are not finite")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the result, and save a checkpoint that would be among the best."""
        trainer, keeping = self.trainer, self.trainer.settings.keeping
        trainer.last_evaluation = (state.global_step, dict(metrics or {}))
        value = (metrics or {}).get(keeping.metric)
        if not trainer.is_in_train:
            return
        if not isinstance(value, (int, float)):
            self._say_once(keeping, metrics or {})
            return
        if keeping.would_rank(float(value), checkpoints.list_checkpoints(trainer.checkpoint_root)):
            control.should_save = True

    def _say_once(self, keeping: checkpoints.RetentionPolicy, metrics: dict[str, Any]) -> None:
        if keeping.best and not self.said:
            self.said = True
            measured = sorted(k for k in metrics if k.startswith("eval_") and k not in OMITTED)
            step = self.trainer.state.global_step
            event = {"event": "unknown_metric", "metric": keeping.metric, "measured": measured, "step": step}
            self.trainer.settings.on_event(event)
