"""Logging and watching the sparsity of representations beside the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_train.tasks.sparse.alarm import Expected, alarms
from ultra_train.tasks.sparse.sparsity import SparsityMeter

WARM_UP = 1 / 3
"""Share of the updates over which the weights of the regularisers rise."""


class SparsityCallback(TrainerCallback):
    """Adds sparsity and the weights of the regularisers to the lines of the log, and raises alarms.

    The values are those of the update of the line, so that a resumed run logs what an uninterrupted one does.

    Args:
        meter: the meter of the training batches.
        loss: the loss, whose weights are logged if it has regularisers.
        metrics: receives the values of the next line.
        history: returns the lines of ``metrics.jsonl``; what they say is not said again.
        record: receives the events.
    """

    def __init__(
        self,
        meter: SparsityMeter,
        loss: nn.Module,
        *,
        metrics: dict[str, float],
        history: Callable[[], Iterable[Mapping[str, Any]]],
        record: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.meter = meter
        self.loss = loss
        self.metrics = metrics
        self.history = history
        self.record = record
        self._said: set[str] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember which alarms were raised before."""
        before = (line for line in self.history() if line.get("step", 0) <= state.global_step)
        self._said = {line["event"] for line in before if "event" in line}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the update that begins."""
        self.meter.reset()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand over the measurements of an update that is logged."""
        if not control.should_log or not (measured := self.meter.read()):
            return
        self.metrics.update(measured)
        if isinstance(self.loss, SpladeLoss):
            self.metrics["document_regularizer_weight"] = self.loss.document_regularizer_weight
            if self.loss.query_regularizer_weight is not None:
                self.metrics["query_regularizer_weight"] = self.loss.query_regularizer_weight
        expected = Expected(dimensions=self.meter.dimensions, regularized_from=int(args.max_steps * WARM_UP))
        for name, text in alarms(measured, expected, state.global_step):
            if name not in self._said:
                self._said.add(name)
                self.record({"event": name, "alarm": True, "step": state.global_step, "reason": text})
