import pickle

import numpy as np
import pytest

from ultra_train.data.batches.batch_plan import BatchPlan
from ultra_train.data.errors import DataError


class Lengths:
    """Documents of which only the lengths matter."""

    def __init__(self, lengths, weights=None):
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self.weights = None if weights is None else np.asarray(weights, dtype=np.float64)

    def __len__(self):
        return len(self.lengths)


SHARDS = Lengths(np.random.default_rng(0).integers(3, 60, 500))


def _epoch(plan, epoch):
    return [plan.batch(epoch, index) for index in range(plan.batches(epoch))]


@pytest.mark.parametrize("mode", ["length", "packed"])
def test_an_epoch_shows_every_document_once_in_an_order_of_its_own(mode):
    plan = BatchPlan(SHARDS, batch_size=4, max_length=64, seed=3, mode=mode)
    orders = []
    for epoch in (0, 1):
        draws = np.concatenate([batch.draws for batch in _epoch(plan, epoch)])
        assert sorted(draws.tolist()) == list(range(500))
        orders.append(draws.tolist())
    assert orders[0] != orders[1]
    assert plan.batches(0) == plan.batches(1)


@pytest.mark.parametrize("mode", ["length", "packed"])
def test_a_batch_is_a_pure_function_of_seed_epoch_and_index(mode):
    first = BatchPlan(SHARDS, batch_size=4, max_length=64, seed=3, mode=mode)
    everything = {(epoch, i): batch for epoch in (0, 1, 2) for i, batch in enumerate(_epoch(first, epoch))}
    fresh = BatchPlan(SHARDS, batch_size=4, max_length=64, seed=3, mode=mode)
    for place in [(2, 5), (0, 1), (1, 7), (2, 0), (0, 0)]:
        assert fresh.batch(*place).draws.tolist() == everything[place].draws.tolist()
        assert fresh.batch(*place).rows.tolist() == everything[place].rows.tolist()
    other = BatchPlan(SHARDS, batch_size=4, max_length=64, seed=4, mode=mode)
    assert other.batch(0, 0).draws.tolist() != everything[0, 0].draws.tolist()


def test_the_order_of_a_plan_never_changes():
    # An order that a new version computes differently would break the resuming of old runs.
    plan = BatchPlan(Lengths([3, 4, 4, 5, 5, 5, 6, 6]), batch_size=1, max_length=10, seed=7)
    assert [batch.draws.tolist() for batch in _epoch(plan, 0)] == [[2, 1], [6, 7], [4, 3], [0, 5]]


def test_batches_are_near_the_budget_of_real_tokens():
    plan = BatchPlan(SHARDS, batch_size=8, max_length=64)
    tokens = [SHARDS.lengths[batch.draws].sum() for batch in _epoch(plan, 0)]
    assert abs(np.mean(tokens) - 512) < 64
    assert BatchPlan(SHARDS, batch_size=8, max_length=64, tokens_per_batch=100).batches(0) > 4 * len(tokens)
    assert plan.padding(0) < 0.05


def test_without_shuffling_every_epoch_is_the_same():
    plan = BatchPlan(SHARDS, batch_size=4, max_length=64, shuffle=False)
    assert [b.draws.tolist() for b in _epoch(plan, 0)] == [b.draws.tolist() for b in _epoch(plan, 9)]


def test_position_is_the_place_after_so_many_batches():
    plan = BatchPlan(SHARDS, batch_size=4, max_length=64)
    count = plan.batches(0)
    assert plan.position(0) == (0, 0)
    assert plan.position(count - 1) == (0, count - 1)
    assert plan.position(3 * count + 2) == (3, 2)


def test_weights_are_passes_an_epoch():
    shards = Lengths([10] * 300, [2.0] * 100 + [0.25] * 100 + [1.0] * 100)
    plan = BatchPlan(shards, batch_size=4, max_length=16)
    shown = np.zeros(300, dtype=int)
    quarter = []
    for epoch in range(4):
        draws = np.concatenate([batch.draws for batch in _epoch(plan, epoch)])
        assert len(set(draws.tolist())) == len(draws)
        times = np.bincount(draws % 300, minlength=300)
        assert (times[:100] == 2).all()
        assert (times[200:] == 1).all()
        quarter.append(times[100:200].sum())
        shown += times
    assert (shown[100:200] == 1).all()
    assert all(10 <= count <= 40 for count in quarter)
    position, consumed = (0, 0), 0
    for epoch in range(3):
        consumed += plan.batches(epoch)
        position = (epoch + 1, 0)
        assert plan.position(consumed) == position


def test_a_plan_travels_to_other_processes():
    plan = BatchPlan(SHARDS, batch_size=4, max_length=64)
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.batch(1, 3).draws.tolist() == plan.batch(1, 3).draws.tolist()


def test_faults():
    with pytest.raises(DataError, match="no document"):
        BatchPlan(Lengths([]), batch_size=1, max_length=8)
    with pytest.raises(DataError, match="has 9 tokens, but max_length is 8"):
        BatchPlan(Lengths([3, 9]), batch_size=1, max_length=8)
    with pytest.raises(DataError, match="batch_size is 0"):
        BatchPlan(SHARDS, batch_size=0, max_length=64)
    plan = BatchPlan(SHARDS, batch_size=4, max_length=64)
    with pytest.raises(IndexError):
        plan.batch(0, plan.batches(0))
