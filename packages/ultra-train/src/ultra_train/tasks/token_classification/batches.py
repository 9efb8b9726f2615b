"""Rows of words with tags as tensors: the tags of words become those of their pieces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import attrs
from transformers import DataCollatorForTokenClassification

from ultra_train.tasks.labelled.weights import IGNORED
from ultra_train.tasks.labelled.words import encode_words


def tags_of_pieces(words: Sequence[int | None], tags: Sequence[str], *, first_only: bool) -> list[str | None]:
    """Return the tag of every piece, or None where it does not count.

    Args:
        words: the word of every piece; None for special tokens.
        tags: the tag of every word.
        first_only: only the first piece of a word has its tag; else the others have it too, as I, so that no
            entity begins inside a word.
    """
    found: list[str | None] = []
    before: int | None = None
    for word in words:
        if word is None or (word == before and first_only):
            found.append(None)
        else:
            tag = tags[word]
            found.append(f"I-{tag[2:]}" if word == before and tag.startswith("B-") else tag)
        before = word
    return found


@attrs.define(slots=False)
class WordCollator:
    """Tokenises words, pads them, and adds the tags of their pieces.

    Attributes:
        tokenizer: a fast tokenizer, which knows the characters of every piece.
        labels: the tags in the order of the model.
        max_length: tokens of a text at most; words beyond have no pieces.
        first_only: whether only the first piece of a word has its tag.
    """

    tokenizer: Any
    labels: Sequence[str]
    max_length: int
    first_only: bool = True

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, each ``(B, T)``."""
        encoded, words = encode_words(self.tokenizer, [row["tokens"] for row in rows], self.max_length)
        features = []
        for number, row in enumerate(rows):
            tags = tags_of_pieces(words[number], row["tags"], first_only=self.first_only)
            labels = [IGNORED if tag is None else self._index[tag] for tag in tags]
            features.append({**{name: encoded[name][number] for name in encoded}, "labels": labels})
        return dict(DataCollatorForTokenClassification(self.tokenizer)(features))
