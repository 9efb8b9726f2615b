from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ultra_train.data.batches.widths import MOST_WIDTHS, row_widths


def positions(lengths, widths, max_length):
    """The padded positions of all documents."""
    fits = [[w for w in widths if n < w or n == w == max_length] for n in lengths]
    return sum(map(min, fits))


@pytest.mark.parametrize("most", [1, 2, 3, 8])
@pytest.mark.parametrize("max_length", [50, 64])
def test_no_other_widths_need_less_padding(most, max_length):
    lengths = np.random.default_rng(most).choice([3, 8, 9, 16, 17, 30, 31, 40, 49, max_length], 60)
    found = row_widths(lengths, max_length, most=most)
    assert len(found) <= most
    assert found[-1] == max_length
    grid = range(8, max_length, 8)
    others = [(*chosen, max_length) for chosen in combinations(grid, min(most - 1, len(grid)))]
    assert positions(lengths, found, max_length) == min(positions(lengths, o, max_length) for o in others)


def test_long_rows_have_as_few_widths():
    lengths = np.random.default_rng(0).integers(3, 8193, 10_000)
    found = row_widths(lengths, 8192)
    assert len(found) == MOST_WIDTHS
    assert found == tuple(sorted(set(found)))
    assert positions(lengths, found, 8192) < 1.15 * lengths.sum()


def test_documents_of_one_length_need_one_width():
    assert row_widths(np.full(10, 16), 512)[0] == 24
    assert row_widths(np.full(10, 512), 512)[-1] == 512
