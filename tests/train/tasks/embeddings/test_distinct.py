from itertools import pairwise

import numpy as np
import pytest

from ultra_train.tasks.embeddings.distinct import distinct_batches


def batches(order, ids, size):
    rows, starts = distinct_batches(np.array(order), np.array(ids, np.int32), size)
    return [rows[a:b].tolist() for a, b in pairwise(starts)]


@pytest.mark.parametrize("seed", range(4))
def test_no_text_is_twice_in_a_batch_and_no_row_in_two(seed):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 60, (400, 2 + seed % 2)).astype(np.int32)
    found = batches(generator.permutation(400), ids, 8)
    for rows in found:
        own = [set(ids[row].tolist()) for row in rows]
        assert len(set.union(*own)) == sum(map(len, own))
    placed = [row for rows in found for row in rows]
    assert len(placed) == len(set(placed)) >= 390
    assert all(2 <= len(rows) <= 8 for rows in found)
    assert sum(len(rows) == 8 for rows in found) >= 40


def test_rows_keep_their_order_and_the_last_batch_may_be_small():
    assert batches([4, 2, 0, 1, 3], [[i, i + 10] for i in range(5)], 2) == [[4, 2], [0, 1], [3]]


def test_a_row_that_does_not_fit_waits_for_the_next_batch():
    assert batches(range(4), [[0, 1], [0, 2], [3, 4], [5, 6]], 2) == [[0, 2], [1, 3]]


def test_a_text_in_two_columns_of_one_row_is_no_obstacle():
    assert batches(range(2), [[0, 0], [1, 2]], 2) == [[0, 1]]


def test_rows_that_nothing_can_be_compared_with_are_left_out():
    """One text is the answer of nearly all rows: only two batches have something else in them."""
    found = batches(range(8), [[0, 9], [1, 9], [2, 9], [3, 9], [4, 9], [5, 9], [6, 7], [10, 11]], 4)
    assert [len(rows) for rows in found] == [3]
    assert batches([0], [[0, 1]], 4) == [[0]]
