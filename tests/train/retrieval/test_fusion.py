from __future__ import annotations

import numpy as np
import pytest

from ultra_train.retrieval.fusion import normalised, reciprocal_rank_fusion, tuned_weights, weighted_sum
from ultra_train.retrieval.ranking import NONE, Ranking


def ranking(*rows: dict[int, float]) -> Ranking:
    return Ranking.of([(np.array(list(row), dtype=int), np.array(list(row.values()))) for row in rows], 3)


FIRST = ranking({7: 9.0, 3: 5.0, 1: 1.0}, {2: 4.0}, {})
SECOND = ranking({3: 0.8, 5: 0.4}, {}, {})


def test_reciprocal_ranks_add_up() -> None:
    fused = reciprocal_rank_fusion([FIRST, SECOND], 3)
    numbers, scores = fused.row(0)
    assert numbers.tolist() == [3, 7, 5]
    assert scores.tolist() == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])
    assert fused.documents[1].tolist() == [2, NONE, NONE]
    assert fused.documents[2].tolist() == [NONE] * 3


def test_equal_ranks_are_in_the_order_of_the_documents() -> None:
    fused = reciprocal_rank_fusion([ranking({9: 1.0}), ranking({4: 1.0})], 2)
    assert fused.documents.tolist() == [[4, 9]]


def test_scores_are_scaled_within_each_ranking() -> None:
    fused = weighted_sum([FIRST, SECOND], [0.5, 0.25], 4)
    numbers, scores = fused.row(0)
    # scaled: 7 -> 1, 3 -> 0.5, 1 -> 0 in the first; 3 -> 1, 5 -> 0 in the second
    assert dict(zip(numbers.tolist(), scores.tolist(), strict=True)) == {7: 0.5, 3: 0.5, 1: 0.0, 5: 0.0}
    assert numbers.tolist() == [3, 7, 1, 5]
    assert fused.row(1)[1].tolist() == [0.5], "one score is the highest of its ranking"


def test_candidates_hold_every_document_once() -> None:
    candidates = normalised([FIRST, SECOND])
    assert candidates.documents.tolist() == [[1, 3, 5, 7], [2, NONE, NONE, NONE], [NONE] * 4]
    assert candidates.scores.shape == (2, 3, 4)


def test_the_weight_with_the_best_quality_is_found() -> None:
    good, bad = ranking({1: 3.0, 2: 1.0, 3: 0.0}), ranking({3: 3.0, 2: 1.0, 1: 0.0})

    def first_is_one(fused: Ranking) -> float:
        return float(fused.documents[0, 0] == 1)

    weights = tuned_weights([bad, good], first_is_one, 3)
    assert sum(weights) == pytest.approx(1)
    assert weighted_sum([bad, good], weights, 3).documents[0, 0] == 1
    # half and half would be a tie that goes to the lower number, so the weights stay equal
    assert weights == (0.5, 0.5)
    assert tuned_weights([bad, good], lambda fused: -first_is_one(fused), 3)[0] > 0.5
    assert tuned_weights([good], first_is_one, 3) == (1.0,)
