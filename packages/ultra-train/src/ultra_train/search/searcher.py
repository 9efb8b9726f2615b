"""Searching an index by one retriever, or by several whose rankings are fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from ultra_core.errors import listed
from ultra_train.retrieval.fusion import reciprocal_rank_fusion, weighted_sum
from ultra_train.retrieval.ranking import Ranking
from ultra_train.search.errors import SearchError
from ultra_train.search.index import SearchIndex
from ultra_train.search.schema import MAX_RESULTS
from ultra_train.search.snippets import snippet

Mode = Literal["dense", "sparse", "bm25", "hybrid"]

CANDIDATES = 100
"""Documents of each retriever that a hybrid search fuses, at least."""

Scored = Sequence[tuple[str, float]]
"""Ids with scores, best first; higher is better."""

EncodeQuery = Callable[[str], Any]
"""Returns the vector of a query."""


@attrs.frozen
class Place:
    """Where one retriever has a document.

    Attributes:
        rank: its place in the ranking, from 1.
        score: its score there.
    """

    rank: int
    score: float


@attrs.frozen
class Hit:
    """A document that was found.

    Attributes:
        rank: its place, from 1.
        id: its id.
        score: the score that decides; of a hybrid search that of the fusion.
        title: its title; it may be empty.
        snippet: the part of its text that has most of the words of the query.
        places: its rank and score for each retriever that found it, if several were asked.
    """

    rank: int
    id: str
    score: float
    title: str
    snippet: str
    places: Mapping[str, Place]


class Searcher:
    """Searches an index.

    Hybrid searches are fused here and not by Milvus, whose weights apply to scores that a server and
    milvus-lite scale differently; so results are the same on both, and the weights are those that
    ``ultra-train eval`` finds.

    Args:
        index: the index.
        encoders: what encodes queries for ``dense`` and ``sparse``; only that of a retriever that is used is
            called.
    """

    def __init__(self, index: SearchIndex, encoders: Mapping[str, EncodeQuery]) -> None:
        self._index, self._encoders = index, encoders

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        candidates: int = CANDIDATES,
    ) -> list[Hit]:
        """Return the best documents for a query, best first.

        Args:
            query: the query.
            k: number of documents.
            mode: the retriever, or ``hybrid`` for all that the index has, which is the default if it has
                several.
            weights: weight of each retriever of a hybrid search, whose scores are scaled to 0 to 1 then;
                without weights, rankings are fused by reciprocal ranks.
            candidates: documents of each retriever that a hybrid search fuses; at least ``k`` are.

        Raises:
            SearchError: the index lacks the retriever, or ``k`` or the query is no good.
        """
        if not query.strip():
            raise SearchError("the query is empty")
        if not 1 <= k <= MAX_RESULTS:
            raise SearchError(f"k is {k:,}, but it must be from 1 to {MAX_RESULTS:,}, the limit of Milvus")
        chosen = self.retrievers(mode, weights)
        depth = min(max(k, candidates), MAX_RESULTS) if len(chosen) > 1 else k
        rankings = {name: self._ranking(name, query, depth) for name in chosen}
        return self._hits(query, fused(rankings, weights, k), rankings)

    def retrievers(self, mode: Mode | None, weights: Mapping[str, float] | None = None) -> tuple[str, ...]:
        """Return the retrievers of a search.

        Raises:
            SearchError: the index lacks one of them.
        """
        has = self._index.manifest.retrievers
        wanted = tuple(weights or ()) or (has if mode in (None, "hybrid") else (mode,))
        lacking = [name for name in wanted if name not in has]
        if lacking:
            raise SearchError(f"{self._index.where}: has no {' or '.join(lacking)}; it has {listed(has)}")
        if mode == "hybrid" and len(wanted) < 2:
            raise SearchError(f"{self._index.where}: has only {wanted[0]}, so there is nothing to fuse")
        return wanted

    def _ranking(self, name: str, query: str, depth: int) -> Scored:
        return self._index.nearest(name, query if name == "bm25" else self._encoders[name](query), depth)

    def _hits(self, query: str, best: Scored, rankings: Mapping[str, Scored]) -> list[Hit]:
        texts = self._index.texts([name for name, _ in best])
        places = {
            retriever: {name: Place(rank, score) for rank, (name, score) in enumerate(ranking, 1)}
            for retriever, ranking in (rankings.items() if len(rankings) > 1 else ())
        }
        return [
            Hit(
                rank=rank,
                id=name,
                score=score,
                title=texts[name].title,
                snippet=snippet(texts[name].text.removeprefix(texts[name].title), query),
                places={retriever: found[name] for retriever, found in places.items() if name in found},
            )
            for rank, (name, score) in enumerate(best, 1)
        ]


def fused(
    rankings: Mapping[str, Scored], weights: Mapping[str, float] | None, k: int
) -> list[tuple[str, float]]:
    """Return the best documents of several rankings.

    Args:
        rankings: the ranking of each retriever.
        weights: weights of their scores, or None to fuse by reciprocal ranks.
        k: number of documents.
    """
    if len(rankings) == 1:
        return list(next(iter(rankings.values())))[:k]
    names = list(dict.fromkeys(name for ranking in rankings.values() for name, _ in ranking))
    if not names:
        return []
    numbers = {name: number for number, name in enumerate(names)}
    numbered = [
        Ranking.of(
            [(np.array([numbers[name] for name, _ in ranking]), np.array([s for _, s in ranking]))],
            len(names),
        )
        for ranking in rankings.values()
    ]
    if weights:
        best = weighted_sum(numbered, [weights[name] for name in rankings], k)
    else:
        best = reciprocal_rank_fusion(numbered, k)
    documents, scores = best.row(0)
    return [(names[document], float(score)) for document, score in zip(documents, scores, strict=True)]
