"""Evaluation of masked language models: over tokens, not over batches, and beside the unigram baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer

from ultra_blocks.encoder.mlm_head import IGNORED
from ultra_core.errors import UltraError
from ultra_train.data.batches.batch_plan import BatchPlan, PlannedBatch
from ultra_train.data.token_cache.shards import TokenShards
from ultra_train.hf.errors import describe_error
from ultra_train.hf.probe import preserve_state
from ultra_train.hf.vocabulary import num_token_ids
from ultra_train.system.processes import Processes
from ultra_train.tasks.mlm.head import MaskedHead, labelled
from ultra_train.trainer.evaluation import EvaluationMixin


class PlannedBatches:
    """The batches of epoch 0 of a plan, the same ones every time they are iterated over."""

    def __init__(self, plan: BatchPlan, collator: Callable[[PlannedBatch], dict[str, Tensor]]) -> None:
        self.plan = plan
        self.collator = collator

    def __len__(self) -> int:
        return self.plan.batches(0)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        yield from self.share(Processes())

    def share(self, here: Processes, *, evenly: bool = False) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of one of several processes; together they have every batch once.

        Args:
            here: the process.
            evenly: yield as many batches on every process, the last of them perhaps without labels.
        """
        for start in range(0, len(self), here.count):
            index = start + here.rank
            if index < len(self):
                yield self.collator(self.plan.batch(0, index))
            elif evenly:
                batch = self.collator(self.plan.batch(0, start))
                yield {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}


class MLMTrainer(EvaluationMixin, Trainer):
    """Trainer of masked language models.

    ``eval_loss`` is the mean over masked tokens of -log p(token), whatever the batches are; beside it
    ``eval_accuracy``, ``eval_perplexity`` and ``eval_unigram_accuracy``, the share that always guessing
    ``frequent_token`` gets right.
    """

    divides_rows: ClassVar[bool] = True

    def __init__(self: Any, *args: Any, frequent_token: int, **kwargs: Any) -> None:
        self.frequent_token = frequent_token
        super().__init__(*args, **kwargs)
        self.head = self._checked_head()
        # transformers counts the labels of a window only for a loss that is divided by them, as ours is
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        if self.head.reason is not None:
            text = (
                f"{type(self.model).__name__} computes logits at every position, not only at the masked ones "
                f"({self.head.reason}); that takes time and memory"
            )
            self.settings.on_event({"event": "notice", "text": text})

    def _checked_head(self: Any) -> MaskedHead:
        """Return the head, once the model has computed a loss in training mode and in the run's precision."""
        try:
            head = MaskedHead(self.model)
            with preserve_state(self.model), self.accelerator.autocast():
                head.loss(self.model.train(), labelled(self.model), None)
        except Exception as error:  # whatever the code of a foreign model raises
            precision = self.accelerator.mixed_precision
            computed = "" if precision == "no" else f" in {precision} (training.precision)"
            raise UltraError(
                f"{type(self.model).__name__} cannot be trained{computed} on two rows of five tokens: "
                f"{describe_error(error)}"
            ) from error
        return head

    def compute_loss(
        self: Any,
        model: Any,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the share of a micro-batch in the mean loss over the masked tokens of the whole update.

        The labels of all micro-batches and processes are counted together, whatever the model's own forward
        does with labels. Gradients are averaged over processes, hence their number as a factor.
        """
        try:
            loss = self.head.loss(model, inputs, num_items_in_batch) * self.accelerator.num_processes
        except Exception as error:
            if self.head.gathers_itself:
                raise
            rows, length = inputs["labels"].shape  # whatever the code of a foreign model raises
            raise UltraError(
                f"{type(self.model).__name__} failed on a batch of {rows} rows of {length} tokens: "
                f"{describe_error(error)}"
            ) from error
        return (loss, {"loss": loss}) if return_outputs else loss

    def sampled_loss(self: Any, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """Return the mean loss at the masked positions against tokens drawn from the predictions there."""
        logits = self.head.logits(model, inputs)[0].float()
        drawn = torch.multinomial(logits.detach().softmax(-1), 1).squeeze(-1)
        loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
        return loss / max(1, len(drawn)), len(drawn)

    def held_out_metrics(self: Any, batches: Any) -> tuple[dict[str, float], int]:
        """Sum losses and hits over all masked tokens of all processes."""
        sums = torch.zeros(4, dtype=torch.float64, device=self.args.device)
        for batch in batches.share(self.here, evenly=self.sharded):
            inputs = self._prepare_inputs(batch)
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                logits, targets = self.head.logits(self.model, inputs)
            loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
            hits = (logits.argmax(-1) == targets).sum()
            frequent = (targets == self.frequent_token).sum()
            sums += torch.stack([loss, hits, frequent, torch.tensor(len(targets)).to(loss)]).to(sums.dtype)
        total, hits, frequent, count = self.accelerator.reduce(sums, "sum").tolist()
        loss = total / max(1.0, count)
        values = {
            "loss": loss,
            "accuracy": hits / max(1.0, count),
            "unigram_accuracy": frequent / max(1.0, count),
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
        }
        return values, int(count)


def most_frequent_token(shards: TokenShards, tokenizer: Any, sample: int = 100_000) -> int:
    """Return the most frequent ordinary token of at most ``sample`` training documents."""
    counts = np.zeros(num_token_ids(tokenizer), dtype=np.int64)
    chosen = np.unique(np.linspace(0, len(shards) - 1, min(sample, len(shards))).astype(np.int64))
    for part in np.array_split(chosen, -(-len(chosen) // 4096)):
        counts += np.bincount(shards.gather(part)[0], minlength=len(counts))
    counts[list(tokenizer.all_special_ids)] = 0
    return int(counts.argmax())
