"""The samples of encoders: what they find for queries, and how alike they take pairs to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ultra_train.hf.probe import preserve_state
from ultra_train.tasks.base import Guess, Sample
from ultra_train.tasks.embeddings.data import PairSet

if TYPE_CHECKING:
    from datasets import Dataset

DOCUMENTS, COUNT, BEST, LONGEST = 200, 6, 3, 100
"""Documents that are searched, samples, guesses for each, and characters of a text that are shown."""


def samples_of(trainer: Any, pairs: PairSet) -> Iterator[Sample]:
    """Yield the samples of a data set: for pairs with scores their similarity, for queries what is found.

    Args:
        trainer: the trainer of the run, after an evaluation.
        pairs: the data set, with rows that are held out; its first rows are taken.
    """
    rows = pairs.held_out
    if rows is None or not len(rows):
        return
    with preserve_state(trainer.model), trainer.accelerator.autocast():
        if pairs.kind == "paired_similarity":
            yield from _alike(trainer.model, rows)
        elif pairs.kind != "nli":
            yield from _found(trainer.model, rows, *pairs.text_columns[:2])


def _alike(model: Any, rows: Dataset) -> Iterator[Sample]:
    order = np.argsort(np.asarray(rows["score"], np.float64), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(rows) - 1, COUNT).astype(np.int64))]
    given = rows[chosen.tolist()]
    vectors = [model.encode(given[column], show_progress_bar=False) for column in ("sentence1", "sentence2")]
    likeness = model.similarity_pairwise(*vectors).tolist()
    for one, other, score, found in zip(*given.values(), likeness, strict=True):
        yield Sample(
            given=f"{_short(one)} | {_short(other)}",
            guesses=(Guess(text=f"{found:.1f}"),),
            expected=f"{score:.1f}",
        )


def _found(model: Any, rows: Dataset, query: str, document: str) -> Iterator[Sample]:
    texts = list(dict.fromkeys(rows[document][:DOCUMENTS]))
    answers = dict(zip(rows[query][:DOCUMENTS], rows[document][:DOCUMENTS], strict=True))
    asked = list(answers)[:COUNT]
    scores = model.similarity(
        model.encode_query(asked, show_progress_bar=False),
        model.encode_document(texts, show_progress_bar=False),
    )
    best = scores.float().topk(min(BEST, len(texts)))
    for text, values, places in zip(asked, best.values.tolist(), best.indices.tolist(), strict=True):
        yield Sample(
            given=_short(text),
            guesses=tuple(
                Guess(text=_short(texts[place]), score=value if abs(value) <= 1 else None)
                for value, place in zip(values, places, strict=True)
            ),
            expected=_short(answers[text]),
        )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
