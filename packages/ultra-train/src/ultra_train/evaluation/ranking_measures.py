"""Measures of rankings, by ``trec_eval`` through ``pytrec-eval-terrier``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ultra_core.errors import UltraError, listed
from ultra_train.retrieval.collection import Qrels
from ultra_train.retrieval.ranking import Ranking

HEADLINE = "nDCG@10"
"""The measure that systems are ordered and weights are tuned by."""

TOP = 10
"""Documents that nDCG and MRR look at."""

RECALLS = (10, 100)


def recall_cutoffs(given: Sequence[int], documents: int) -> tuple[int, ...]:
    """Return the numbers of documents that recall is measured at.

    Args:
        given: those that are asked for; by default 10 and 100, if there are so many documents.
        documents: how many documents there are.

    Raises:
        UltraError: one is below 1, or larger than the number of documents.
    """
    if bad := [number for number in given if not 1 <= number <= documents]:
        raise UltraError(
            f"recall at {listed(list(map(str, bad)))} cannot be measured: the collection has {documents:,} "
            "documents"
        )
    return tuple(dict.fromkeys(given or [number for number in RECALLS if number <= documents]))


class RankingMeasures:
    """nDCG@10, MRR@10 and recall of the queries of a split.

    A query that finds nothing has 0 in all of them. Equal scores are not shuffled: the order of the ranking
    counts.

    Args:
        qrels: the judged queries.
        recalls: numbers of documents that recall is measured at.
    """

    def __init__(self, qrels: Qrels, recalls: Sequence[int] = ()) -> None:
        self._names = {
            HEADLINE: f"ndcg_cut_{TOP}",
            f"MRR@{TOP}": "recip_rank",
            **{f"Recall@{number}": f"recall_{number}" for number in recalls},
        }
        graded = {
            str(number): {str(document): grade for document, grade in found.items()}
            for number, found in enumerate(qrels.relevant)
        }
        self._depth = max([TOP, *recalls])
        self._queries = len(qrels)
        module = _pytrec_eval()
        self._top = module.RelevanceEvaluator(graded, {f"ndcg_cut.{TOP}", "recip_rank"})
        cutoffs = ",".join(map(str, recalls))
        self._deep = module.RelevanceEvaluator(graded, {f"recall.{cutoffs}"}) if recalls else None

    def of(self, ranking: Ranking) -> dict[str, np.ndarray]:
        """Return every measure for each query ``(Q,)``.

        Args:
            ranking: the ranking, in the order of the judged queries.
        """
        found = dict(self._top.evaluate(self._run(ranking, TOP)))
        if self._deep is not None:
            for query, values in self._deep.evaluate(self._run(ranking, self._depth)).items():
                found[query] = {**found[query], **values}
        rows: list[Mapping[str, float]] = [found.get(str(query), {}) for query in range(self._queries)]
        return {
            name: np.array([row.get(theirs, 0.0) for row in rows]) for name, theirs in self._names.items()
        }

    def headline(self, ranking: Ranking) -> float:
        """Return the mean nDCG@10."""
        values = self._top.evaluate(self._run(ranking, TOP))
        return sum(row[self._names[HEADLINE]] for row in values.values()) / self._queries

    def _run(self, ranking: Ranking, depth: int) -> dict[str, dict[str, float]]:
        """Return the first documents of each query, with scores that fall by one."""
        rows = (ranking.row(query)[0][:depth].tolist() for query in range(self._queries))
        return {
            str(query): {str(document): float(depth - rank) for rank, document in enumerate(row)}
            for query, row in enumerate(rows)
            if row
        }


def _pytrec_eval() -> Any:
    try:
        import pytrec_eval
    except ImportError as error:
        raise UltraError(
            "the measures of rankings need pytrec-eval-terrier, which has no wheels for Linux on ARM: "
            "pip install pytrec-eval-terrier builds it where a C compiler is installed"
        ) from error
    return pytrec_eval
