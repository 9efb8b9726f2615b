"""Runs of classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ultra_train.hf.probe import preserve_state
from ultra_train.tasks.base import Guess, Sample
from ultra_train.tasks.classification import metrics
from ultra_train.tasks.classification.batches import TextCollator
from ultra_train.tasks.classification.options import ClassificationOptions
from ultra_train.tasks.labelled.run import SAMPLES, LabelledRun
from ultra_train.tasks.labelled.trainer import Measured


class ClassificationRun(LabelledRun[ClassificationOptions]):
    """A run that trains a classifier of texts."""

    def collator(self, *, evaluation: bool) -> TextCollator:
        """Return what tokenises texts and adds their labels."""
        return TextCollator(self.tokenizer, self.problem, self.labels, self.max_length)

    def counts(self) -> Counter[str]:
        """Return how often each label is in the rows to train on."""
        return Counter(self.train["label"])

    def measure(self, batches: Sequence[tuple[Any, Any]]) -> Measured:
        """Return the metrics over all held-out texts, and their confusion matrix."""
        logits, true = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        if self.problem == "regression":
            return metrics.regression(logits, true), None
        if self.problem == "multi_label":
            return metrics.multi_label(logits, true), None
        event = metrics.confusion(true, logits.argmax(-1), self.labels)
        return metrics.single_label(logits, true), event

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield the most probable labels of a few held-out texts."""
        if self.held_out is None or self.problem != "single_label":
            return
        rows = [self.held_out[number] for number in range(min(SAMPLES, len(self.held_out)))]
        batch = trainer._prepare_inputs(self.collator(evaluation=True)(rows))
        with preserve_state(trainer.model), trainer.accelerator.autocast():
            logits = trainer.model.eval()(**batch).logits
        for row, scores in zip(rows, logits.float().softmax(-1), strict=True):
            best = torch.topk(scores, min(3, len(self.labels)))
            yield Sample(
                given=" / ".join(row[name] for name in ("text", "text_pair") if name in row),
                expected=row["label"],
                guesses=tuple(
                    Guess(text=self.labels[index], score=score)
                    for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                ),
            )

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield a line about the held-out texts."""
        if "eval_mcc" in metrics:
            yield (
                f"Held-out texts: {metrics['eval_accuracy']:.1%} get the right label; macro-F1 is "
                f"{metrics['eval_macro_f1']:.3f}, Matthews' correlation {metrics['eval_mcc']:.3f}."
            )
        elif "eval_micro_f1" in metrics:
            yield (
                f"Held-out texts: {metrics['eval_accuracy']:.1%} get exactly the right labels; macro-F1 is "
                f"{metrics['eval_macro_f1']:.3f}, micro-F1 {metrics['eval_micro_f1']:.3f}."
            )
        elif "eval_mse" in metrics:
            more = (
                f"; Pearson's correlation is {metrics['eval_pearson']:.3f}"
                if "eval_pearson" in metrics
                else ""
            )
            yield f"Held-out texts: the mean squared error is {metrics['eval_mse']:.4g}{more}."
