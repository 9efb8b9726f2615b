"""The trainers of sentence-transformers behind ultra's mixin."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from torch import Tensor, nn

from ultra_train.hf.verbosity import transformers_errors_only
from ultra_train.tasks.embeddings.evaluators import Evaluator
from ultra_train.trainer.evaluation import EvaluationMixin
from ultra_train.trainer.loss_weights import loss_weights


class EmbeddingTrainerMixin(EvaluationMixin):
    """What both trainers need beside the mixin of all trainers.

    The library's data sets, samplers, optimizer groups and model card are not used: the loader, the optimizer
    and the card are ultra's. Its losses, its collator and its evaluators are.

    ``eval_loss`` is the mean over the held-out rows of the loss of their batch; with several data sets
    ``eval_<name>_loss`` is that of one. Evaluators add their metrics as ``eval_<metric>``.

    Args:
        loss: a loss, or one for each data set by its name.
        evaluators: what measures the model at every evaluation, on the first process.
    """

    data_collator_class: ClassVar[Any]

    def __init__(
        self: Any,
        *args: Any,
        loss: nn.Module | Mapping[str, nn.Module],
        evaluators: Sequence[Evaluator] = (),
        **kwargs: Any,
    ) -> None:
        several = loss if isinstance(loss, Mapping) else None
        first = loss if several is None else next(iter(several.values()))
        super().__init__(*args, loss=first, **kwargs)
        if several is not None:  # the library would demand data sets of its own kind
            self.loss = {name: self.prepare_loss(one, self.model) for name, one in several.items()}
        self.evaluators = tuple(evaluators)

    def preprocess_dataset(self, dataset: Any = None, dataset_name: str | None = None) -> Any:
        """Return the evaluation batches as they are."""
        return dataset

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Write no model card of the library's; the run writes its own."""

    def track_loss_components(self: Any, loss: Mapping[str, Tensor]) -> None:
        """Sum the parts of a loss since the last line of the log, in fp64 where the device has it."""
        wide = self.args.device.type != "mps"
        host: Any = super()
        host.track_loss_components({n: t.detach().double() if wide else t for n, t in loss.items()})

    def log_window(self: Any, losses: list[float]) -> dict[str, Any]:
        """Return what a checkpoint records of the log, with the sums of the parts of the loss."""
        sums = {name: float(value) for name, value in self.accum_loss_components["train"].items()}
        return {**super().log_window(losses), "components": sums}

    def load_log_window(self: Any, window: Mapping[str, Any]) -> None:
        """Restore what a checkpoint recorded."""
        super().load_log_window(window)
        recorded = window.get("components")
        sums = recorded.items() if isinstance(recorded, dict) else ()
        wide = torch.float64 if self.args.device.type != "mps" else torch.float32
        self.accum_loss_components["train"] = {
            name: torch.tensor(value, dtype=torch.int64 if name == "steps" else wide, device=self.args.device)
            for name, value in sums
            if type(value) is float
        }

    def held_out_metrics(self: Any, batches: Any) -> tuple[dict[str, float], int]:
        """Average the losses over the rows of all processes, and run the evaluators."""
        sums = self._loss_sums(batches)
        count = sum(rows for _, rows in sums.values())
        values = {"loss": sum(total for total, _ in sums.values()) / max(1.0, count)}
        if len(sums) > 1:
            values |= {f"{name}_loss": total / max(1.0, rows) for name, (total, rows) in sums.items()}
        values |= self._measured()
        return values, int(count)

    def _loss_sums(self: Any, batches: Any) -> dict[str, tuple[float, float]]:
        """Return the sum of the losses and the number of rows of every data set, over all processes."""
        sums: dict[str, Tensor] = defaultdict(
            lambda: torch.zeros(2, dtype=torch.float64, device=self.args.device)
        )
        for name, rows, batch in batches.share(self.here):
            inputs = self._prepare_inputs(batch)
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                loss = self.compute_loss(self.model, inputs)
            if rows:
                sums[name] += torch.stack([loss.double() * rows, loss.new_tensor(rows).double()])
        together = torch.stack([sums[name] for name in batches.names])
        reduced = self.accelerator.reduce(together, "sum").tolist()
        return {name: (total, rows) for name, (total, rows) in zip(batches.names, reduced, strict=True)}

    def _measured(self: Any) -> dict[str, float]:
        """Return the metrics of the evaluators, which the first process runs for all.

        A metric that is not defined is left out, such as a correlation with similarities that are all equal.
        """
        found: dict[str, float] = {}
        if self.here.main:
            with self.accelerator.autocast(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "An input array is constant")
                for evaluator in self.evaluators:
                    measured = {name: float(value) for name, value in evaluator(self.model).items()}
                    found |= {name: value for name, value in measured.items() if math.isfinite(value)}
        shared: dict[str, float] = self.here.share(found)
        return shared

    def _judge_gradients(self: Any, max_norm: float | None) -> Tensor:
        """Average the gradients of losses over the processes, which DDP does for the model alone."""
        if self.here.several:
            for weight in loss_weights(self).values():
                if weight.requires_grad:
                    weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                    dist.all_reduce(weight.grad)
                    weight.grad /= self.here.count
        norm: Tensor = super()._judge_gradients(max_norm)
        return norm

    def _save(self: Any, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the model with all of its modules, as sentence-transformers loads it."""
        folder = Path(output_dir or self.args.output_dir)
        with transformers_errors_only():
            self.model.save_pretrained(str(folder), create_model_card=False)


class DenseTrainer(EmbeddingTrainerMixin, SentenceTransformerTrainer):
    """Trainer of a ``SentenceTransformer``."""


class SparseTrainer(EmbeddingTrainerMixin, SparseEncoderTrainer):
    """Trainer of a ``SparseEncoder``."""
