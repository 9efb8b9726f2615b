"""Several rankings in one: reciprocal rank fusion, and weighted sums of normalised scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np

from ultra_train.retrieval.ranking import NONE, Ranking, best

RRF_CONSTANT = 60
"""The constant of reciprocal rank fusion in the paper that introduced it."""


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: int, constant: float = RRF_CONSTANT) -> Ranking:
    """Return the fused ranking: a document scores the sum of ``1 / (constant + rank)`` over the rankings.

    Ranks count from 1; a ranking that lacks a document adds nothing (Cormack, Clarke and Büttcher, 2009).

    Args:
        rankings: at least one, of the same queries.
        k: how many documents the result has at most.
        constant: the larger it is, the less the first ranks stand out.
    """
    shares = []
    for ranking in rankings:
        ranks = np.arange(1, ranking.documents.shape[1] + 1)
        shares.append(np.where(ranking.documents == NONE, 0.0, 1.0 / (constant + ranks)))
    return Candidates.of(rankings, shares).ranked(np.ones(len(rankings)), k)


def weighted_sum(rankings: Sequence[Ranking], weights: Sequence[float], k: int) -> Ranking:
    """Return the fused ranking: a document scores the weighted sum of its normalised scores.

    Args:
        rankings: at least one, of the same queries.
        weights: one for each ranking.
        k: how many documents the result has at most.
    """
    return normalised(rankings).ranked(np.asarray(weights), k)


def normalised(rankings: Sequence[Ranking]) -> Candidates:
    """Return the candidates with the scores of each query scaled to 0 to 1 within each ranking.

    The lowest score of a ranking and a document that it lacks both get 0; where all scores are equal, they
    are 1.
    """
    return Candidates.of(rankings, [_scaled(ranking) for ranking in rankings])


def _scaled(ranking: Ranking) -> np.ndarray:
    there = ranking.documents != NONE
    low = np.where(there, ranking.scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(there, ranking.scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    spread = high - low
    with np.errstate(invalid="ignore"):  # the filling is minus infinity
        scaled = np.where(spread > 0, (ranking.scores - low) / np.where(spread > 0, spread, 1.0), 1.0)
    return np.where(there, scaled, 0.0)


@attrs.frozen(eq=False)
class Candidates:
    """The documents that at least one of several rankings has for a query, with a score from each of them.

    Attributes:
        documents: numbers of documents ``(Q, C)`` in ascending order, filled up with ``NONE``.
        scores: scores by ranking ``(S, Q, C)``, 0 where a ranking lacks the document.
    """

    documents: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, rankings: Sequence[Ranking], scores: Sequence[np.ndarray]) -> Candidates:
        """Gather the documents of rankings.

        Args:
            rankings: the rankings, of the same queries.
            scores: for each of them, the scores ``(Q, K)`` that its documents get.
        """
        found = []
        for query in range(len(rankings[0])):
            lists = [ranking.row(query)[0] for ranking in rankings]
            found.append((np.unique(np.concatenate(lists)), lists))
        width = max((len(union) for union, _ in found), default=0)
        documents = np.full((len(found), width), NONE, dtype=np.int64)
        gathered = np.zeros((len(rankings), len(found), width))
        for query, (union, lists) in enumerate(found):
            documents[query, : len(union)] = union
            for number, own in enumerate(lists):
                gathered[number, query, np.searchsorted(union, own)] = scores[number][query, : len(own)]
        return cls(documents, gathered)

    def ranked(self, weights: np.ndarray, k: int) -> Ranking:
        """Return the ranking by the weighted sum of the scores.

        Args:
            weights: one for each ranking ``(S,)``.
            k: how many documents the result has at most.
        """
        fused = np.tensordot(weights, self.scores, axes=1)
        rows = []
        for documents, scores in zip(self.documents, fused, strict=True):
            count = int((documents != NONE).sum())
            found = best(scores[:count], k)
            rows.append((documents[found], scores[found]))
        return Ranking.of(rows, k)


def tuned_weights(
    rankings: Sequence[Ranking], quality: Callable[[Ranking], float], k: int, steps: int = 20
) -> tuple[float, ...]:
    """Return the weights of a weighted sum with the highest quality; they sum to 1.

    All weights that are multiples of ``1 / steps`` are tried; of equally good ones those nearest to equal
    weights are returned.

    Args:
        rankings: at least one, of queries that are not those of the final evaluation.
        quality: returns the quality of a fused ranking, the higher the better.
        k: how many documents a fused ranking has.
        steps: how finely the weights are divided.
    """
    candidates = normalised(rankings)
    tried = [np.asarray(parts) / steps for parts in _compositions(steps, len(rankings))]
    tried.sort(key=lambda weights: float(((weights - 1 / len(rankings)) ** 2).sum()))
    chosen = max(tried, key=lambda weights: quality(candidates.ranked(weights, k)))
    return tuple(map(float, chosen))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all tuples of whole numbers from 0 on with this sum."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *rest) for rest in _compositions(total - first, parts - 1))
