"""The trainer of sparse encoders: learning rates of their own, and sparsity at every evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
    SpladeRegularizerWeightSchedulerCallback,
)
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.system.run_files import METRICS
from ultra_train.tasks.embeddings.trainers import SparseTrainer
from ultra_train.tasks.sparse.callback import SparsityCallback
from ultra_train.tasks.sparse.query_rates import OwnRates, roles_of
from ultra_train.tasks.sparse.sparsity import SparsityMeter


class SparsityTrainer(SparseTrainer):
    """Trainer of a ``SparseEncoder`` whose loss shows the representations to meters.

    ``eval_loss`` has the regularisers with their full weights from the first evaluation on; it would not be
    comparable over time while the weights rise.

    Args:
        own_rates: the parameters with learning rates of their own.
        meter: the meter of training batches, if they are measured.
        held_out: the meter of evaluation batches.
        schedule: what lets the weights of the regularisers rise; None for a loss without any.
        callbacks: further callbacks.
    """

    def __init__(
        self,
        *args: Any,
        own_rates: OwnRates,
        meter: SparsityMeter | None,
        held_out: SparsityMeter,
        schedule: SpladeRegularizerWeightSchedulerCallback | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **kwargs: Any,
    ) -> None:
        self.own_rates = own_rates
        self.held_out = held_out
        self.schedule = schedule
        # the library adds a schedule of its own unless it finds one among the callbacks
        given = [schedule] if schedule is not None else []
        super().__init__(*args, callbacks=[*given, *callbacks], **kwargs)
        if meter is not None:
            lines = MetricsFile(self.settings.run_folder / METRICS)
            self.add_callback(
                SparsityCallback(
                    meter,
                    kwargs["loss"],
                    metrics=self.extra_metrics,
                    history=lines.read,
                    record=self.settings.on_event,
                )
            )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer with the roles of parameters that have learning rates of their own."""
        with roles_of(self.model, self.own_rates):
            optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        return optimizer

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate, and add the sparsity of held-out texts to the metrics."""
        self.held_out.reset()
        with full_weights(self.schedule):
            output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        measured = {f"{prefix}_{name}": value for name, value in self.held_out.read().items()}
        return output._replace(metrics={**(output.metrics or {}), **self.here.share(measured)})


@contextmanager
def full_weights(schedule: SpladeRegularizerWeightSchedulerCallback | None) -> Iterator[None]:
    """Give the regularisers the weights that they have after the warm-up while the block runs."""
    if schedule is None:
        yield
        return
    loss: Any = schedule.loss
    before = loss.document_regularizer_weight, loss.query_regularizer_weight
    loss.document_regularizer_weight = schedule.max_document_regularizer_weight
    loss.query_regularizer_weight = schedule.max_query_regularizer_weight
    try:
        yield
    finally:
        loss.document_regularizer_weight, loss.query_regularizer_weight = before
