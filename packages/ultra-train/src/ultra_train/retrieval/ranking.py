"""What a search returns: for every query its best documents in order."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

NONE = -1
"""Number in the place of a document where a query has fewer of them."""


@attrs.frozen(eq=False)
class Ranking:
    """The best documents of every query, from the best one on; ties are in the order of the documents.

    Attributes:
        documents: numbers of documents ``(Q, K)``, filled up with ``NONE`` at the end.
        scores: their scores ``(Q, K)``, filled up with negative infinity.
    """

    documents: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> Ranking:
        """Return the ranking with these documents and scores of each query, at most ``k`` of them."""
        documents = np.full((len(rows), k), NONE, dtype=np.int64)
        scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
        for number, (found, values) in enumerate(rows):
            count = min(k, len(found))
            documents[number, :count] = found[:count]
            scores[number, :count] = values[:count]
        return cls(documents, scores)

    def __len__(self) -> int:
        return len(self.documents)

    def row(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents and scores of one query, without the filling."""
        count = int((self.documents[query] != NONE).sum())
        return self.documents[query, :count], self.scores[query, :count]

    def without(self, removed: Sequence[set[int]]) -> Ranking:
        """Return the ranking with some documents of each query taken out; the next ones move up.

        Args:
            removed: for every query, the numbers of the documents to take out.
        """
        rows = []
        for query, out in enumerate(removed):
            documents, scores = self.row(query)
            kept = ~np.isin(documents, list(out))
            rows.append((documents[kept], scores[kept]))
        return Ranking.of(rows, self.documents.shape[1])


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the numbers of the ``k`` highest scores in descending order; ties are in ascending order.

    Args:
        scores: ``(N,)``, without NaN.
        k: how many; with fewer scores, all of them are returned.
    """
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > last)
    level = np.flatnonzero(scores == last)[: k - len(above)]
    found = np.concatenate([above, level])
    return found[np.argsort(-scores[found], kind="stable")]
