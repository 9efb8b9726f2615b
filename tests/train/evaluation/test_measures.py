from __future__ import annotations

import math

import numpy as np
import pytest

from ultra_core.errors import UltraError
from ultra_train.evaluation.pair_measures import (
    best_accuracy,
    best_f1,
    binary_statistics,
    triplet_statistics,
)
from ultra_train.evaluation.ranking_measures import RankingMeasures, recall_cutoffs
from ultra_train.retrieval.collection import Qrels
from ultra_train.retrieval.ranking import Ranking

QRELS = Qrels("test", [5, 6, 9], [{3: 1}, {0: 2, 4: 1}, {7: 1}])


def ranking(*rows: list[int]) -> Ranking:
    return Ranking.of([(np.array(row, dtype=int), np.zeros(len(row))) for row in rows], 12)


def test_measures_are_those_computed_by_hand() -> None:
    found = RankingMeasures(QRELS, [2, 5]).of(ranking([1, 3], [4, 2, 0], []))
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    gained = 1 / math.log2(2) + 2 / math.log2(4)
    assert found["nDCG@10"] == pytest.approx([1 / math.log2(3), gained / ideal, 0])
    assert found["MRR@10"] == pytest.approx([1 / 2, 1, 0])
    assert found["Recall@2"] == pytest.approx([1, 0.5, 0])
    assert found["Recall@5"] == pytest.approx([1, 1, 0])


def test_only_the_first_ten_count_for_ndcg_and_mrr() -> None:
    measures = RankingMeasures(QRELS, [12])
    late = ranking([8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 3], [0], [7])
    found = measures.of(late)
    assert found["nDCG@10"][0] == found["MRR@10"][0] == 0
    assert found["Recall@12"][0] == 1
    assert measures.headline(late) == pytest.approx(found["nDCG@10"].mean())


def test_equal_scores_keep_the_order_of_the_ranking() -> None:
    assert RankingMeasures(QRELS).of(ranking([3, 1], [], []))["MRR@10"][0] == 1
    assert RankingMeasures(QRELS).of(ranking([1, 3], [], []))["MRR@10"][0] == 0.5


def test_recall_at_more_documents_than_there_are_is_refused() -> None:
    assert recall_cutoffs((), 5000) == (10, 100)
    assert recall_cutoffs((), 50) == (10,)
    assert recall_cutoffs((3, 3), 5) == (3,)
    for bad in (6, 0):
        with pytest.raises(UltraError, match=f"recall at {bad} cannot be measured: the collection has 5 doc"):
            recall_cutoffs((bad,), 5)


def test_binary_measures_by_hand() -> None:
    similarities, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    found = {
        name: statistic(np.ones((1, 4)))[0]
        for name, statistic in binary_statistics(similarities, labels).items()
    }
    assert found == pytest.approx({"AP": (1 + 2 / 3) / 2, "F1": 0.8, "accuracy": 0.75})
    assert best_f1(similarities, labels) == pytest.approx((0.8, 0.7))
    assert best_accuracy(similarities, labels)[0] == 0.75


def test_resamples_weigh_pairs_by_how_often_they_have_them() -> None:
    similarities, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    counts = np.array([2, 0, 1, 1])
    drawn = np.repeat(similarities, counts), np.repeat(labels, counts)
    for name, statistic in binary_statistics(similarities, labels).items():
        expected = binary_statistics(*drawn)[name](np.ones((1, 4)))
        assert statistic(counts[None].astype(float)) == pytest.approx(expected)
    one_class = np.array([[3.0, 0, 1, 0]])
    assert np.isnan(binary_statistics(similarities, labels)["AP"](one_class)).all()


def test_thresholds_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator as Theirs

    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 50).astype(float)
    similarities = np.round(random.normal(size=50) + labels, 1)
    f1 = Theirs.find_best_f1_and_threshold(similarities, labels, high_score_more_similar=True)
    accuracy = Theirs.find_best_acc_and_threshold(similarities, labels, high_score_more_similar=True)
    assert best_f1(similarities, labels)[0] == pytest.approx(f1[0])
    assert best_accuracy(similarities, labels)[0] == pytest.approx(accuracy[0])


def test_a_triplet_is_right_when_the_positive_is_nearer() -> None:
    margins = np.array([0.3, 0.0, -0.1, 0.2])
    assert triplet_statistics(margins)["accuracy"](np.ones((1, 4)))[0] == 0.5
