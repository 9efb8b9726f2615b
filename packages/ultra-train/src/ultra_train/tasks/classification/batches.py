"""Rows of texts with labels as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import attrs
import torch
from transformers import DataCollatorWithPadding

from ultra_train.data.labelled.checking import Problem


@attrs.define(slots=False)
class TextCollator:
    """Tokenises texts, or pairs of them, pads them, and adds their labels.

    Attributes:
        tokenizer: the tokenizer.
        problem: what a label is.
        labels: the labels in the order of the model.
        max_length: tokens of a text at most.
    """

    tokenizer: Any
    problem: Problem
    labels: Sequence[str]
    max_length: int

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return ``input_ids`` and ``attention_mask`` ``(B, T)``, and ``labels`` ``(B,)`` or ``(B, K)``."""
        texts = [[row[name] for row in rows] for name in ("text", "text_pair") if name in rows[0]]
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.max_length)
        batch = dict(DataCollatorWithPadding(self.tokenizer)(encoded))
        batch["labels"] = self._tensor([row["label"] for row in rows])
        return batch

    def _tensor(self, values: list[Any]) -> torch.Tensor:
        if self.problem == "regression":
            return torch.tensor(values, dtype=torch.float32)
        if self.problem == "single_label":
            return torch.tensor([self._index[value] for value in values])
        held = torch.zeros(len(values), len(self.labels))
        for row, names in enumerate(values):
            held[row, [self._index[name] for name in names]] = 1.0
        return held
