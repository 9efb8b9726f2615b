"""Bookkeeping of the trainer around every update, and after evaluations."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_blocks.encoder.post_step import after_step
from ultra_train.system.processes import Processes
from ultra_train.system.random_state import seed_process
from ultra_train.trainer.agreement import Agreement
from ultra_train.trainer.checkpoints.folders import list_checkpoints
from ultra_train.trainer.gate import UpdateGate
from ultra_train.trainer.guards import RollbackNeeded
from ultra_train.trainer.host import HostTrainer
from ultra_train.trainer.non_finite import all_finite
from ultra_train.trainer.optimizers import learning_rates, unwrapped
from ultra_train.trainer.settings import TrainerSettings

OMITTED_METRICS = frozenset(
    {"total_flos", "train_samples_per_second", "train_steps_per_second", "eval_samples_per_second"}
)
"""Metrics of transformers that ultra neither writes nor offers: the trainer does not count samples."""


class UpdatedTrainer(HostTrainer, Protocol):
    """What the callback uses of ``UltraTrainerMixin``."""

    settings: TrainerSettings
    gate: UpdateGate
    agreement: Agreement
    learning_rates: dict[str, float]
    training_seconds: float
    update_started: float
    last_evaluation: tuple[int, Mapping[str, Any]]
    is_in_train: bool

    @property
    def here(self) -> Processes:
        """This process among those of the run."""
        ...

    @property
    def checkpoint_root(self) -> Path:
        """Folder of the run's checkpoints."""
        ...

    def start_clock(self) -> None:
        """Measure tokens per second from here on."""
        ...

    def restore_special_tokens(self) -> None:
        """Give the model's config back the special tokens that the model was built with."""
        ...

    def restore_loss_sums(self) -> None:
        """Restore the sum of the losses that a checkpoint recorded."""
        ...

    def estimate_curvature(self) -> None:
        """Run the curvature pass of the optimizer when it is due."""
        ...


class UpdateCallback(TrainerCallback):
    """Runs right after transformers' own flow callback, so that other callbacks see its decisions.

    Args:
        trainer: the trainer that it belongs to.
    """

    def __init__(self, trainer: UpdatedTrainer) -> None:
        self.trainer = trainer
        self.unknown_metric_reported = False
        self._bad_weights = False
        trainer.agreement.watch("bad_weights", lambda: float(self._bad_weights))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, and restore what transformers resets when training begins.

        Each of several processes draws its own random numbers (dropout) from here on.
        """
        if self.trainer.here.several:
            seed_process(args.seed, state.global_step, self.trainer.here.rank)
        self.trainer.start_clock()
        self.trainer.restore_special_tokens()
        self.trainer.restore_loss_sums()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the learning rates, let the modules take their own step, and estimate curvature when due."""
        trainer, gate = self.trainer, self.trainer.gate
        trainer.learning_rates = learning_rates(unwrapped(trainer.optimizer))  # before the schedule moves on
        gate.note_optimizer_step()
        after_step(trainer.model, taken=gate.objection is None)
        if gate.objection is None:
            trainer.estimate_curvature()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Cancel what a dropped update would trigger; scan the weights now and then.

        Raises:
            RollbackNeeded: too many updates in a row were dropped.
        """
        trainer = self.trainer
        self._bad_weights = False
        trainer.training_seconds += time.perf_counter() - trainer.update_started
        state.epoch = trainer.settings.stream.epochs
        if trainer.gate.objection is not None:
            control.should_log = control.should_evaluate = control.should_save = False
            trainer.gate.check_patience()
        elif not state.global_step % trainer.settings.guard.scan_every:
            self._bad_weights = not all_finite(trainer.model.parameters())

    def on_agreed(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the attempt when a process has found a weight that is not finite.

        Raises:
            RollbackNeeded: there is one.
        """
        if self.trainer.agreement.agreed("bad_weights"):
            self._bad_weights = False
            raise RollbackNeeded("weights are not finite")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the result, and save a checkpoint when it would be among the best."""
        trainer, retention = self.trainer, self.trainer.settings.retention
        trainer.last_evaluation = (state.global_step, dict(metrics or {}))
        value = (metrics or {}).get(retention.metric)
        if not trainer.is_in_train:
            return
        if not isinstance(value, (int, float)):
            self._report_unknown_metric(metrics or {})
            return
        if trainer.here.main and retention.would_rank(
            float(value), list_checkpoints(trainer.checkpoint_root)
        ):
            control.should_save = True

    def _report_unknown_metric(self, metrics: dict[str, Any]) -> None:
        """Report once that the metric that ranks the checkpoints is not measured."""
        settings = self.trainer.settings
        if settings.retention.best and not self.unknown_metric_reported:
            self.unknown_metric_reported = True
            measured = sorted(k for k in metrics if k.startswith("eval_") and k not in OMITTED_METRICS)
            settings.on_event(
                {
                    "event": "unknown_metric",
                    "metric": settings.retention.metric,
                    "measured": measured,
                    "step": self.trainer.state.global_step,
                }
            )
