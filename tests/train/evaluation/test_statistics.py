from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ultra_train.evaluation.statistics import Measured, estimate, mean_of, pearson_of, spearman_of

RANDOM = np.random.default_rng(1)
X = RANDOM.integers(0, 6, 40).astype(float)
Y = X + RANDOM.integers(0, 8, 40)


def repeated(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.repeat(values, counts.astype(int))


def test_statistics_of_resamples_are_those_of_repeated_items() -> None:
    counts = RANDOM.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    for row in counts:
        x, y = repeated(X, row), repeated(Y, row)
        assert mean_of(X)(row[None])[0] == pytest.approx(x.mean())
        assert pearson_of(X, Y)(row[None])[0] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert spearman_of(X, Y)(row[None])[0] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman_of(X, Y)(np.ones((1, 40)))[0] == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert spearman_of(X, np.ones(40))(np.ones((1, 40)))[0] == 0


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = RANDOM.normal(size=400)
    score = estimate([Measured("a", {"mean": mean_of(values)})], 400, resamples=4000)[0]["mean"]
    half = 1.96 * values.std() / 20
    assert score.value == pytest.approx(values.mean())
    assert score.low == pytest.approx(values.mean() - half, abs=0.01)
    assert score.high == pytest.approx(values.mean() + half, abs=0.01)
    assert score.difference is None


def test_differences_are_paired() -> None:
    noise = RANDOM.normal(size=200)
    better = noise + 0.1 + 0.01 * RANDOM.normal(size=200)
    found = estimate(
        [Measured("a", {"m": mean_of(noise)}), Measured("b", {"m": mean_of(better)}, against="a")], 200
    )
    difference = found[1]["m"].difference
    assert difference is not None
    assert difference.against == "a"
    assert difference.value == pytest.approx((better - noise).mean())
    assert 0.09 < difference.low < difference.value < difference.high < 0.11
    assert difference.p == pytest.approx(2 / 2001), "no resample has the other sign"
    assert found[1]["m"].low < found[0]["m"].high, "their own intervals overlap"


def test_equal_systems_have_p_one_and_chance_has_no_small_p() -> None:
    values = RANDOM.normal(size=100)
    other = RANDOM.permutation(values)
    systems = [
        Measured("a", {"m": mean_of(values)}),
        Measured("same", {"m": mean_of(values.copy())}, against="a"),
        Measured("shuffled", {"m": mean_of(other)}, against="a"),
    ]
    found = estimate(systems, 100)
    assert found[1]["m"].difference is not None
    assert found[1]["m"].difference.p == 1
    assert found[2]["m"].difference is not None
    assert found[2]["m"].difference.p > 0.9, "the means are equal"


def test_the_seed_decides_and_the_t_test_agrees() -> None:
    x, y = RANDOM.normal(size=150), RANDOM.normal(0.15, size=150)
    systems = [Measured("x", {"m": mean_of(x)}), Measured("y", {"m": mean_of(y)}, against="x")]
    one, again, other = (estimate(systems, 150, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other
    assert one[1]["m"].difference is not None
    assert one[1]["m"].difference.p == pytest.approx(stats.ttest_rel(x, y).pvalue, abs=0.03)
