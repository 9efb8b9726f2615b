"""The trainer of models with labels: transformers' own, with class weights and exact evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import Trainer

from ultra_train.tasks.labelled.weights import IGNORED, weighted_difference
from ultra_train.trainer.evaluation import EvaluationMixin

Measure = Callable[[list[tuple[NDArray[Any], NDArray[Any]]]], "Measured"]
"""From the (logits, labels) of every batch to metrics and an event."""

Measured = tuple[dict[str, float], Mapping[str, Any] | None]
"""Metrics by name, and an event for ``metrics.jsonl`` or None."""


class LabelledTrainer(EvaluationMixin, Trainer):
    """Trainer of models that return a loss for ``labels``.

    ``eval_loss`` is the mean over all labels, whatever the batches are.

    Args:
        measure: computes the metrics of an evaluation, on the first process.
        weights: ``(K,)`` weights of the labels, or None.
    """

    def __init__(
        self: Any, *args: Any, measure: Measure, weights: Tensor | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.measure, self.weights = measure, weights
        # the losses of models differ in what they make of num_items_in_batch; compute_loss divides itself
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def compute_loss(
        self: Any,
        model: Any,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the share of a micro-batch in the mean loss over all labels of the update.

        The loss is the model's own; gradients are averaged over processes, hence their number as a factor.
        """
        outputs, labels = model(**inputs), inputs["labels"]
        loss = outputs.loss
        if self.weights is not None:
            loss = loss + weighted_difference(outputs.logits, labels, self.weights).to(loss.dtype)
        if num_items_in_batch is not None:
            share = (labels != IGNORED).sum() / num_items_in_batch
            loss = loss * share.to(loss.dtype) * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def held_out_metrics(self: Any, batches: Any) -> tuple[dict[str, float], int]:
        """Compute the loss and the metrics over all rows of all processes."""
        total = np.zeros(2)
        found = []
        for _, rows, batch in batches.share(self.here):
            inputs = self._prepare_inputs(batch)
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                loss, outputs = self.compute_loss(self.model, inputs, return_outputs=True)
            if not rows:
                continue
            labels = inputs["labels"]
            counted = int((labels != IGNORED).sum())
            total += float(loss) * counted, counted
            found.append((outputs.logits.float().cpu().numpy(), labels.cpu().numpy()))
        gathered = self.here.gather((total, found))
        total = sum(one for one, _ in gathered)
        measured = self.measure([batch for _, one in gathered for batch in one]) if self.here.main else None
        values, event = self.here.share(measured)
        if event is not None and self.here.main:
            self.settings.on_event({"step": self.state.global_step, **event})
        values = {"loss": float(total[0] / max(1.0, total[1])), **values}
        return values, int(total[1])
