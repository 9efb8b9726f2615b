"""The training lines of the log, and the state between two of them.

A checkpoint records that state, so that a resumed run writes the same lines as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultra_train.trainer.base import TrainerBase
from ultra_train.trainer.checkpoints.resume import is_count
from ultra_train.trainer.checkpoints.writing import record_metrics
from ultra_train.trainer.settings import TrainerSettings


class LogMixin(TrainerBase):
    """Completes the lines of the log; a part of ``UltraTrainerMixin``."""

    def __init__(self, *args: Any, settings: TrainerSettings, **kwargs: Any) -> None:
        self._restored_window: Mapping[str, Any] = {}
        self._speed_measured_from: tuple[int, float] = (0, 0.0)
        super().__init__(*args, settings=settings, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to training lines: learning rates, tokens, speed, share of waiting, hours, dropped updates."""
        if "loss" in logs:
            tokens_before, seconds_before = self._speed_measured_from
            seconds = self.training_seconds - seconds_before
            logs |= self.learning_rates
            logs["tokens_seen"] = self.tokens_seen
            logs["tokens_per_second"] = (self.tokens_seen - tokens_before) / max(1e-9, seconds)
            logs["data_wait_share"] = min(1.0, self.data_wait_seconds / max(1e-9, seconds))
            logs["training_hours"] = self.training_seconds / 3600
            logs["dropped_updates"] = self.gate.dropped
            logs |= self.extra_metrics
            self.start_clock()
        super().log(logs, start_time)
        del self.state.log_history[:-100]  # the run's metrics.jsonl has all lines

    def start_clock(self) -> None:
        """Measure tokens per second from here on."""
        self._speed_measured_from = (self.tokens_seen, self.training_seconds)
        self.data_wait_seconds = 0.0

    def log_window(self, losses: list[float]) -> dict[str, Any]:
        """Return what a checkpoint records of the log.

        Args:
            losses: sum of the losses since the last line, for every process.
        """
        step, metrics = self.last_evaluation
        numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        return {
            "losses": losses,
            "last_logged": self._globalstep_last_logged,
            "extra": {k: v for k, v in self.extra_metrics.items() if isinstance(v, (int, float))},
            "evaluated": step,
            "evaluation": numbers,
            "evaluation_due": self.evaluation_due,
        }

    def load_log_window(self, window: Mapping[str, Any]) -> None:
        """Restore what a checkpoint recorded, except the loss sums, which the loop still resets."""
        self._restored_window = window
        self.evaluation_due = window.get("evaluation_due") is True and self.eval_dataset is not None
        if is_count(window.get("evaluated")):
            self.last_evaluation = (window["evaluated"], _numbers(window.get("evaluation")))
        self.extra_metrics.update(_numbers(window.get("extra")))

    def restore_loss_sums(self) -> None:
        """Restore the sum of the losses once the loop has reset its own; does nothing the second time."""
        window, self._restored_window = self._restored_window, {}
        if self.args.device.type != "mps":  # which has no fp64
            self._tr_loss = self._tr_loss.double()
        losses, last = window.get("losses"), window.get("last_logged")
        if not (isinstance(losses, list) and losses and is_count(last)):
            return  # a new run, or a checkpoint of an older version
        if last <= self.state.global_step and all(isinstance(loss, float) for loss in losses):
            same = len(losses) == self.here.count  # else each takes the mean, as lines of the log do
            self._tr_loss.fill_(losses[self.here.rank] if same else sum(losses) / len(losses))
            self._globalstep_last_logged = last

    def evaluate_overdue(self) -> None:
        """Run the evaluation that a signal prevented, and record its metrics in the checkpoint."""
        metrics = self.evaluate()
        self.evaluation_due = False
        step, root = self.state.global_step, self.checkpoint_root
        if self.here.main:
            self.settings.disk.write(
                lambda: record_metrics(root, step, _numbers(metrics)),
                f"the metrics of checkpoint-{step}",
                root,
            )


def _numbers(value: Any) -> dict[str, float]:
    entries = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in entries if type(v) is float or (type(v) is int and abs(v) < 2**53)}
