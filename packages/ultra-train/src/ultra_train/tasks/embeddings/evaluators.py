"""What measures an encoder at every evaluation: sentence-transformers' evaluators by kinds of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ultra_train.tasks.embeddings.data import PairSet

if TYPE_CHECKING:
    from datasets import Dataset

Evaluator = Callable[[Any], Mapping[str, float]]
"""Measures a model and returns its metrics by name."""

CUTOFF = 10
"""Documents of a ranking that MRR and nDCG look at."""


@attrs.frozen(kw_only=True)
class EvaluatorClasses:
    """The evaluators of a family of encoders.

    Attributes:
        similarity: for pairs of sentences with a score.
        triplets: for triplets.
        retrieval: for queries and documents.
    """

    similarity: type
    triplets: type
    retrieval: type


def dense_evaluators() -> EvaluatorClasses:
    """Return the evaluators of dense encoders."""
    from sentence_transformers.sentence_transformer import evaluation as dense

    return EvaluatorClasses(
        similarity=dense.EmbeddingSimilarityEvaluator,
        triplets=dense.TripletEvaluator,
        retrieval=dense.InformationRetrievalEvaluator,
    )


def evaluators_of(
    pairs: PairSet, classes: EvaluatorClasses, *, name: str, batch_size: int, prompts: Mapping[str, str]
) -> Iterator[Evaluator]:
    """Yield the evaluators of a data set.

    Args:
        pairs: the data set, with rows that are held out.
        classes: the evaluators of the family of the encoder.
        name: what metrics begin with, or an empty text.
        batch_size: texts that are encoded at a time.
        prompts: what is put before the texts of a column.
    """
    rows = pairs.held_out
    assert rows is not None
    options: dict[str, Any] = {"name": name, "batch_size": batch_size, "write_csv": False}
    columns = pairs.text_columns
    if pairs.kind == "paired_similarity":
        yield classes.similarity(rows["sentence1"][:], rows["sentence2"][:], rows["score"][:], **options)
    if "negative" in columns:
        texts = [_prompted(rows, column, prompts) for column in (*columns[:2], "negative")]
        yield classes.triplets(*texts, **options)
    if pairs.kind in ("pairs", "triplets", "qa"):
        yield _retrieval(rows, columns, classes.retrieval, prompts, options)


def _retrieval(
    rows: Dataset,
    columns: tuple[str, ...],
    evaluator: type,
    prompts: Mapping[str, str],
    options: Mapping[str, Any],
) -> Evaluator:
    """Return an evaluator that finds the match of each held-out query among all held-out documents."""
    query, match, *negatives = columns
    documents = dict.fromkeys(text for column in (match, *negatives) for text in rows[column])
    numbers = {text: f"d{number}" for number, text in enumerate(documents)}
    relevant: dict[str, set[str]] = {}
    for asked, found in zip(rows[query], rows[match], strict=True):
        relevant.setdefault(asked, set()).add(numbers[found])
    queries = {f"q{number}": text for number, text in enumerate(relevant)}
    made: Evaluator = evaluator(
        queries,
        {number: text for text, number in numbers.items()},
        {number: relevant[text] for number, text in queries.items()},
        mrr_at_k=[CUTOFF],
        ndcg_at_k=[CUTOFF],
        accuracy_at_k=[1, CUTOFF],
        precision_recall_at_k=[CUTOFF],
        map_at_k=[CUTOFF],
        query_prompt=prompts.get(query),
        corpus_prompt=prompts.get(match),
        **options,
    )
    return made


def _prompted(rows: Dataset, column: str, prompts: Mapping[str, str]) -> list[str]:
    prompt = prompts.get(column, "")
    return [prompt + text for text in rows[column]]
