"""Intervals from Student's t distribution, against scipy."""

import numpy as np
import pytest
import scipy.stats

from ultra_train.compare.statistics import Estimate, estimate, t_quantile


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_quantiles_are_those_of_the_distribution(level):
    for freedom in [*range(1, 13), 29, 30, 99, 400]:
        expected = scipy.stats.t.ppf((1 + level) / 2, freedom)
        assert t_quantile(freedom, level) == pytest.approx(expected, rel=1e-10)


def test_an_interval_is_that_of_the_mean():
    values = [5.1, 4.8, 5.4, 5.05]
    low, high = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    found = estimate(values)
    assert (found.low, found.high, found.count) == (pytest.approx(low), pytest.approx(high), 4)


def test_one_value_has_no_interval_and_none_no_mean():
    assert estimate([3.0]) == Estimate(3.0, None, 1)
    assert not estimate([3.0]).excludes_zero
    assert estimate([]) is None


def test_zero_is_excluded_by_an_interval_beside_it():
    assert estimate([1.0, 1.1, 0.9]).excludes_zero
    assert not estimate([1.0, -1.0, 0.9]).excludes_zero
