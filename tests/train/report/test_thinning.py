from __future__ import annotations

import numpy as np
import pytest

from ultra_train.report.thinning import thin


def test_spikes_and_ends_of_a_long_curve_are_drawn():
    values = np.sin(np.arange(20_000) / 500)
    values[12_345], values[77] = 40.0, -40.0
    kept = thin(values).kept
    assert {0, 77, 12_345, 19_999} <= set(kept.tolist())
    assert len(kept) <= 1202
    assert (np.diff(kept) > 0).all()


def test_a_point_carries_the_mean_of_what_it_stands_for():
    values = np.tile([0.0, 10.0], 5000)
    assert thin(values, buckets=10).mean == pytest.approx(5.0)


@pytest.mark.parametrize("count", [1, 2, 19, 20])
def test_a_short_curve_is_drawn_whole(count):
    values = np.arange(count, dtype=float)
    thinned = thin(values, buckets=10)
    assert thinned.kept.tolist() == list(range(count))
    assert thinned.mean.tolist() == values.tolist()
