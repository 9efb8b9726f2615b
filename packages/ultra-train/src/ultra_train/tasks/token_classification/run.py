"""Runs of token classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ultra_train.hf.probe import preserve_state
from ultra_train.tasks.base import Guess, Sample
from ultra_train.tasks.classification.metrics import confusion
from ultra_train.tasks.labelled.run import SAMPLES, LabelledRun
from ultra_train.tasks.labelled.trainer import Measured
from ultra_train.tasks.labelled.weights import IGNORED
from ultra_train.tasks.token_classification.batches import WordCollator
from ultra_train.tasks.token_classification.metrics import entity_metrics
from ultra_train.tasks.token_classification.options import TokenClassificationOptions


class TokenClassificationRun(LabelledRun[TokenClassificationOptions]):
    """A run that trains a tagger of words."""

    def collator(self, *, evaluation: bool) -> WordCollator:
        """Return what tokenises words and adds tags; in evaluation, every word has one tag."""
        first_only = evaluation or self.options.label_pieces == "first"
        return WordCollator(self.tokenizer, self.labels, self.max_length, first_only)

    def counts(self) -> Counter[str]:
        """Return how often each tag is in the rows to train on."""
        return Counter(tag for tags in self.train["tags"] for tag in tags)

    def measure(self, batches: Sequence[tuple[Any, Any]]) -> Measured:
        """Return the metrics over all entities of held-out texts, and the confusion matrix of words."""
        true: list[list[int]] = []
        found: list[list[int]] = []
        for logits, labels in batches:
            for guesses, row in zip(logits.argmax(-1), labels, strict=True):
                true.append(row[row != IGNORED].tolist())
                found.append(guesses[row != IGNORED].tolist())
        event = confusion(list(chain(*true)), list(chain(*found)), self.labels)
        names = self.labels
        values = entity_metrics(
            [[names[tag] for tag in row] for row in true], [[names[tag] for tag in row] for row in found]
        )
        return values, event

    def samples(self, trainer: Any) -> Iterator[Sample]:
        """Yield the tagged words of a few held-out texts."""
        if self.held_out is None:
            return
        rows = [self.held_out[number] for number in range(min(SAMPLES, len(self.held_out)))]
        batch = trainer._prepare_inputs(self.collator(evaluation=True)(rows))
        with preserve_state(trainer.model), trainer.accelerator.autocast():
            best = trainer.model.eval()(**batch).logits.argmax(-1)
        for row, found, labels in zip(rows, best.tolist(), batch["labels"].tolist(), strict=True):
            tags = [self.labels[f] for f, label in zip(found, labels, strict=True) if label != IGNORED]
            words = row["tokens"]
            yield Sample(
                given=" ".join(words),
                expected=_marked(words, row["tags"][: len(tags)]),
                guesses=(Guess(text=_marked(words, tags), score=None),),
            )

    def closing_words(self, trainer: Any, metrics: Mapping[str, float]) -> Iterator[Any]:
        """Yield a line about the held-out entities."""
        if "eval_f1" in metrics:
            yield (
                f"Held-out texts: {metrics['eval_recall']:.1%} of the entities are found, and "
                f"{metrics['eval_precision']:.1%} of those found are right; F1 is {metrics['eval_f1']:.3f}."
            )


def _marked(words: Sequence[str], tags: Sequence[str]) -> str:
    """Return the tagged words of a text with their tags."""
    marked = [f"{word}/{tag}" for word, tag in zip(words, tags, strict=False) if tag != "O"]
    return " ".join(marked) or "O"
