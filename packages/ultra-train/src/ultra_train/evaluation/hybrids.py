"""Hybrids of the evaluated searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from ultra_train.evaluation.systems import Costs
from ultra_train.retrieval.fusion import reciprocal_rank_fusion, tuned_weights, weighted_sum
from ultra_train.retrieval.ranking import Ranking

_STEPS = {2: 20}
_STEPS_OF_MORE = 10


@attrs.frozen(kw_only=True)
class Hybrid:
    """Several searches in one.

    Attributes:
        name: its name.
        parts: names of the searches.
        ranking: the fused ranking.
        weights: the weight of each search; empty for fusion by ranks.
        fusion_ms: milliseconds that fusing takes for a query.
    """

    name: str
    parts: Sequence[str]
    ranking: Ranking
    weights: Mapping[str, float]
    fusion_ms: float

    def costs(self, of_parts: Mapping[str, Costs]) -> Costs:
        """Return what the searches take together, one after the other."""
        found = [of_parts[name] for name in self.parts]
        return Costs(
            sum(one.index_bytes for one in found),
            sum(one.index_seconds for one in found),
            sum(one.encode_ms for one in found),
            sum(one.search_ms for one in found) + self.fusion_ms,
        )


def fused(
    parts: Sequence[str],
    rankings: Mapping[str, Ranking],
    depth: int,
    *,
    tuning: Mapping[str, Ranking],
    quality: Callable[[Ranking], float] | None,
) -> Iterator[Hybrid]:
    """Yield the hybrid by reciprocal ranks, and the one by weights.

    Args:
        parts: names of the searches.
        rankings: the ranking of each search.
        depth: documents of a fused ranking.
        tuning: the ranking of each search for the queries that weights are tuned on.
        quality: quality of a ranking of those queries; None for no hybrid by weights.
    """
    name = " + ".join(parts)
    found = [rankings[part] for part in parts]
    ranking, taken = _timed(lambda: reciprocal_rank_fusion(found, depth))
    yield Hybrid(name=f"{name}, RRF", parts=parts, ranking=ranking, weights={}, fusion_ms=taken)
    if quality is None:
        return
    steps = _STEPS.get(len(parts), _STEPS_OF_MORE)
    weights = tuned_weights([tuning[part] for part in parts], quality, depth, steps)
    ranking, taken = _timed(lambda: weighted_sum(found, weights, depth))
    yield Hybrid(
        name=f"{name}, tuned",
        parts=parts,
        ranking=ranking,
        weights=dict(zip(parts, weights, strict=True)),
        fusion_ms=taken,
    )


def _timed(fuse: Callable[[], Ranking]) -> tuple[Ranking, float]:
    start = time.perf_counter()
    ranking = fuse()
    return ranking, 1e3 * (time.perf_counter() - start) / len(ranking)
