"""Fusion of rankings: by reciprocal ranks, or by weighted scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[str, float]]
"""Ids with scores, best first; higher is better."""

RANK_CONSTANT = 60


def reciprocal_rank_fusion(
    rankings: Mapping[str, Ranking], constant: int = RANK_CONSTANT
) -> list[tuple[str, float]]:
    """Return documents by the sum of ``1 / (constant + rank)`` (Cormack et al., SIGIR 2009)."""
    scores: dict[str, float] = {}
    for ranking in rankings.values():
        for rank, (name, _) in enumerate(ranking, 1):
            scores[name] = scores.get(name, 0.0) + 1 / (constant + rank)
    return _sorted(scores)


def weighted_fusion(rankings: Mapping[str, Ranking], weights: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return documents by the weighted sum of their scores, which are scaled to 0 to 1 in each ranking."""
    scores: dict[str, float] = {}
    for retriever, ranking in rankings.items():
        if not ranking:
            continue
        values = [score for _, score in ranking]
        low, span = min(values), max(values) - min(values)
        for name, score in ranking:
            scaled = (score - low) / span if span else 1.0
            scores[name] = scores.get(name, 0.0) + weights[retriever] * scaled
    return _sorted(scores)


def _sorted(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
