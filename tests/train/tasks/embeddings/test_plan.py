"""Every epoch is another order of all rows; its length is the number of batches that it has (FAILURES 31)."""

import pickle

import numpy as np
import pytest

from ultra_train.data.errors import DataError
from ultra_train.tasks.embeddings.plan import PairPlan, PlannedRows


def rows(count, **options):
    return PlannedRows(count=count, fingerprint=str(count), **options)


def epoch(plan, number):
    return [plan.batch(number, index) for index in range(plan.batches(number))]


def taken(plan, number, dataset=0):
    return [row for batch in epoch(plan, number) if batch.dataset == dataset for row in batch.rows.tolist()]


def test_an_epoch_has_every_row_once_and_the_next_one_another_order():
    plan = PairPlan([rows(11)], batch_size=4, seed=1)
    assert [len(batch.rows) for batch in epoch(plan, 0)] == [4, 4, 3]
    assert sorted(taken(plan, 0)) == sorted(taken(plan, 1)) == list(range(11))
    assert taken(plan, 0) != taken(plan, 1)


def test_a_batch_follows_from_seed_epoch_and_index_alone():
    ids = np.random.default_rng(0).integers(0, 30, (40, 2)).astype(np.int32)
    sets = [rows(40, ids=ids), rows(9)]
    first = PairPlan(sets, batch_size=4, seed=1)
    again = pickle.loads(pickle.dumps(PairPlan(sets, batch_size=4, seed=1)))
    expected = [(b.dataset, b.rows.tolist()) for b in epoch(first, 2)]
    for index in reversed(range(again.batches(2))):
        batch = again.batch(2, index)
        assert (batch.dataset, batch.rows.tolist()) == expected[index]
    other = PairPlan(sets, batch_size=4, seed=2)
    assert [(b.dataset, b.rows.tolist()) for b in epoch(other, 2)] != expected


def test_proportional_has_all_rows_of_all_data_sets_mixed():
    plan = PairPlan([rows(40), rows(9)], batch_size=4)
    assert plan.batches(0) == 10 + 3
    for dataset, count in ((0, 40), (1, 9)):
        assert sorted(taken(plan, 0, dataset)) == list(range(count))
    turns = [batch.dataset for batch in epoch(plan, 0)]
    assert turns not in (sorted(turns), sorted(turns, reverse=True))
    assert turns != [batch.dataset for batch in epoch(plan, 1)]


def test_round_robin_takes_turns_until_the_smallest_ends_and_then_other_rows():
    plan = PairPlan([rows(40), rows(9)], batch_size=4, strategy="round_robin")
    assert plan.batches(0) == 6
    assert [batch.dataset for batch in epoch(plan, 0)] == [0, 1] * 3
    assert plan.rows(0) == 12 + 9
    assert sorted(taken(plan, 0, 1)) == list(range(9))
    assert set(taken(plan, 0)) != set(taken(plan, 1))


def test_weights_decide_how_often_a_row_is_drawn():
    plan = PairPlan([rows(400, weights=np.r_[np.full(390, 1.0), np.full(10, 39.0)])], batch_size=400)
    drawn = np.concatenate([plan.batch(e, 0).rows for e in range(4)])
    assert 0.4 < np.mean(drawn >= 390) < 0.6
    assert len(drawn) == 1600


def test_evaluation_keeps_the_order():
    plan = PairPlan([rows(5), rows(3)], batch_size=2, shuffle=False)
    assert taken(plan, 0) == [0, 1, 2, 3, 4]
    assert [batch.dataset for batch in epoch(plan, 0)] == [0, 0, 0, 1, 1]


def test_what_cannot_be_planned():
    with pytest.raises(DataError, match="no rows"):
        PairPlan([rows(5), rows(0)], batch_size=2)
    with pytest.raises(IndexError, match="batch 3 of epoch 0, which has 3"):
        PairPlan([rows(5)], batch_size=2).batch(0, 3)
