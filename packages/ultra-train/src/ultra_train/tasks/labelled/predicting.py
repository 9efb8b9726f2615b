"""Labels of texts by a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from transformers import AutoConfig, DataCollatorWithPadding, PretrainedConfig

from ultra_core.errors import UltraError
from ultra_train.data.labelled.checking import Problem
from ultra_train.embeddings.loading import find, loading
from ultra_train.embeddings.unpadding import unpad_inputs
from ultra_train.tasks.labelled.model import LONGEST, head_class
from ultra_train.tasks.labelled.words import encode_words
from ultra_train.tokenizer.loading import load_tokenizer

_AT_ONCE = 64
"""Batches that are sorted by length together."""


@attrs.frozen
class Prediction:
    """What a model says about a text.

    Attributes:
        label: the label, the labels, the number, or the tags of the words, as text.
        score: the probability of the label, or the least of those of the tags or labels; None for a number.
        scores: the probability of every label; empty for tags and numbers.
    """

    label: str
    score: float | None
    scores: dict[str, float]


NOTHING = Prediction("", None, {})
"""What is said about a text without words."""


class Predictor:
    """A trained model with its tokenizer.

    Args:
        where: folder of a run or a model, name of a run, or hub id.
        runs: folder of runs.
        device: device; None: a GPU if there is one.
        batch_size: texts at a time.
        trust_remote_code: run code that comes with the model.

    Raises:
        UltraError: there is no such model, or it has no head for labels.
    """

    def __init__(
        self,
        where: str,
        *,
        runs: str | Path = "runs",
        device: str | None = None,
        batch_size: int = 32,
        trust_remote_code: bool = False,
    ) -> None:
        name, _ = find(where, runs=runs)
        with loading(where):
            config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        self.problem = problem_of(config, where)
        with loading(where):
            self.model: Any = head_class(self.problem).from_pretrained(
                name, dtype=torch.float32, trust_remote_code=trust_remote_code
            )
        self.model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        unpad_inputs(self.model)
        self.tokenizer: Any = load_tokenizer(name, trust_remote_code=trust_remote_code)
        self.tokenizer.padding_side = "right"  # logits follow the pieces of their text
        most = self.tokenizer.model_max_length
        self.max_length = most if most and most < 10**6 else LONGEST
        self.labels = [config.id2label[number] for number in range(config.num_labels)]
        self.batch_size = batch_size

    def __call__(self, texts: Sequence[tuple[str, ...]]) -> Iterator[Prediction]:
        """Yield the prediction for every text, in their order; no label for a text without words.

        Args:
            texts: each a text, or a pair of texts.
        """
        chunk = _AT_ONCE * self.batch_size
        for start in range(0, len(texts), chunk):
            part = texts[start : start + chunk]
            written = (number for number, text in enumerate(part) if "".join(text).strip())
            order = sorted(written, key=lambda number: sum(map(len, part[number])))
            found: dict[int, Prediction] = {}
            for first in range(0, len(order), self.batch_size):
                chosen = order[first : first + self.batch_size]
                found |= zip(chosen, self._batch([part[number] for number in chosen]), strict=True)
            yield from (found.get(number, NOTHING) for number in range(len(part)))

    @torch.no_grad()
    def _batch(self, texts: list[tuple[str, ...]]) -> list[Prediction]:
        if self.problem == "tags":
            words = [text.split() for (text,) in texts]
            encoded, of_pieces = encode_words(self.tokenizer, words, self.max_length)
            logits = self._logits(encoded)
            return [self._of_words(*one) for one in zip(logits, of_pieces, map(len, words), strict=True)]
        columns = map(list, zip(*texts, strict=True))
        encoded = self.tokenizer(*columns, truncation=True, max_length=self.max_length)
        return [self._of_text(row) for row in self._logits(encoded)]

    def _logits(self, encoded: Any) -> torch.Tensor:
        batch = DataCollatorWithPadding(self.tokenizer)(encoded)
        logits: torch.Tensor = self.model(
            **{name: value.to(self.model.device) for name, value in batch.items()}
        ).logits
        return logits.float().cpu()

    def _of_text(self, logits: torch.Tensor) -> Prediction:
        if self.problem == "regression":
            return Prediction(f"{float(logits[0]):.6g}", None, {})
        several = self.problem == "multi_label"
        scores = dict(
            zip(self.labels, (logits.sigmoid() if several else logits.softmax(-1)).tolist(), strict=True)
        )
        if several:
            chosen = {name: score for name, score in scores.items() if score > 0.5}
            return Prediction("|".join(chosen), min(chosen.values(), default=None), scores)
        best = max(scores, key=lambda name: scores[name])
        return Prediction(best, scores[best], scores)

    def _of_words(self, logits: torch.Tensor, words: Sequence[int | None], count: int) -> Prediction:
        """Return a tag for every word, by its first piece; O for a word without pieces."""
        tags, least = ["O"] * count, 1.0
        seen: set[int] = set()
        for scores, word in zip(logits.softmax(-1), words, strict=False):  # padding has no word
            if word is None or word in seen:
                continue
            seen.add(word)
            best = int(scores.argmax())
            tags[word], least = self.labels[best], min(least, float(scores[best]))
        return Prediction(" ".join(tags), least if seen else None, {})


def problem_of(config: PretrainedConfig, where: str) -> Problem:
    """Return what the labels of a saved model are.

    Raises:
        UltraError: the model has no head for labels.
    """
    (architecture, *_) = config.architectures or ("",)
    if architecture.endswith("ForTokenClassification"):
        return "tags"
    if not architecture.endswith("ForSequenceClassification"):
        raise UltraError(
            f"{where} has no labels ({architecture or 'its config names no architecture'}); train it with "
            f"the task classification or token_classification and base_model: {where}"
        )
    known: dict[str | None, Problem] = {
        "multi_label_classification": "multi_label",
        "regression": "regression",
    }
    return known.get(config.problem_type, "regression" if config.num_labels == 1 else "single_label")
