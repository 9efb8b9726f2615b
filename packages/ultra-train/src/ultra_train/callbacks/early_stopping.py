"""Ending a run when its evaluations no longer improve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.trainer.checkpoints.retention import RetentionPolicy


class EarlyStopping(TrainerCallback):
    """Ends training after several evaluations in a row without a better value of a metric.

    A resumed run counts the evaluations before its checkpoint, too, so that it ends where an uninterrupted
    one would have ended.

    Args:
        policy: names the metric, and says which values are better.
        patience: number of evaluations.
        threshold: smallest improvement that counts.
        history: returns the lines of ``metrics.jsonl``.
        record: receives the event of the end.
    """

    def __init__(
        self,
        policy: RetentionPolicy,
        *,
        patience: int,
        threshold: float,
        history: Callable[[], Iterable[Mapping[str, Any]]],
        record: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.policy = policy
        self.patience = patience
        self.threshold = threshold
        self.history = history
        self.record = record
        self._best: float | None = None
        self._waited = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the evaluations until here."""
        self._best, self._waited = None, 0
        for line in self.history():
            if line.get("step", 0) <= state.global_step and "event" not in line:
                self._count(line.get(self.policy.metric))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Count an evaluation, and end training when there is no hope."""
        self._count((metrics or {}).get(self.policy.metric))
        if self._waited >= self.patience and state.global_step < args.max_steps:
            control.should_training_stop = True
            reason = f"{self.policy.metric} did not improve on {self._best:.6g} in {self._waited} evaluations"
            self.record({"event": "early_stopping", "step": state.global_step, "reason": reason})

    def _count(self, value: Any) -> None:
        if not isinstance(value, (int, float)):
            return
        sign = 1 if self.policy.greater_is_better else -1
        if self._best is None or sign * (value - self._best) > self.threshold:
            self._best, self._waited = float(value), 0
        else:
            self._waited += 1
