"""The terms that a few fixed texts activate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ultra_train.tasks.base import Guess, Sample
from ultra_train.tasks.embeddings.data import PairData

TERMS = 10
"""Terms that are shown of a text."""

TEXTS = 5
"""Texts that are shown unless the preset gives their number."""


def sample_texts(data: PairData, count: int) -> list[tuple[str, str]]:
    """Return held-out texts with the side that they are on: queries and their documents in turns.

    Args:
        data: the data sets of the run.
        count: number of texts.
    """
    found: list[tuple[str, str]] = []
    for one in data.held_out:
        rows = one.held_out
        query, document = one.text_columns[:2]
        for row in rows.select(range(min(len(rows), count))) if rows is not None else ():
            found += [("query", row[query]), ("document", row[document])]
    sides = dict.fromkeys(found)
    return list(sides)[:count]


@torch.no_grad()
def decoded(model: Any, texts: Sequence[tuple[str, str]]) -> Iterator[Sample]:
    """Yield the heaviest terms of texts.

    Args:
        model: a ``SparseEncoder`` whose dimensions are tokens.
        texts: pairs of a side, ``query`` or ``document``, and a text.
    """
    for side, text in texts:
        encode = model.encode_query if side == "query" else model.encode_document
        terms = model.decode(encode(text, show_progress_bar=False), top_k=TERMS)
        guesses = tuple(Guess(text=token.strip(), score=float(weight)) for token, weight in terms)
        yield Sample(given=f"{side}: {text}", guesses=guesses)
