"""Bootstrap intervals and paired tests over the items of an evaluation: its queries, pairs or triplets.

A resample draws as many items as there are, with replacement, the same ones for all systems. It is given as
counts: how often it has each item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Returns the value of a measure ``(R,)`` in each of some resamples, given as counts ``(R, N)``."""

LEVEL = 0.95
"""Coverage of every interval."""

_AT_ONCE = 250


@attrs.frozen
class Difference:
    """How much a system is better than another one.

    Attributes:
        against: name of the other system.
        value: the difference of the values.
        low: lower end of its interval.
        high: upper end.
        p: two-sided p value of the paired bootstrap test: how probable a difference as large as this one
            would be if both systems were equally good.
    """

    against: str
    value: float
    low: float
    high: float
    p: float


@attrs.frozen
class Score:
    """A measured value.

    Attributes:
        value: the value on all items.
        low: lower end of its bootstrap interval.
        high: upper end.
        difference: to the system that it is compared with, or None.
    """

    value: float
    low: float
    high: float
    difference: Difference | None = None


@attrs.frozen
class Measured:
    """A system whose measures are to be estimated.

    Attributes:
        name: its name.
        statistics: its measures.
        against: name of the system that it is compared with, or None.
    """

    name: str
    statistics: Mapping[str, Statistic]
    against: str | None = None


def estimate(
    systems: Sequence[Measured], items: int, *, resamples: int = 2000, seed: int = 0
) -> list[dict[str, Score]]:
    """Return the scores of systems that were evaluated on the same items.

    Intervals are percentiles of the bootstrap (Efron and Tibshirani, 1993). A p value is twice the share of
    resamples in which the difference has the other sign or is zero, each count plus one, so that it is never
    below ``2 / (resamples + 1)``.

    Args:
        systems: the systems; each may be compared with another one of them.
        items: how many items there are.
        resamples: how many resamples are drawn.
        seed: seed of the resamples; the same seed gives the same scores.
    """
    random = np.random.default_rng(seed)
    drawn: list[dict[str, list[np.ndarray]]] = [{name: [] for name in one.statistics} for one in systems]
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        counts = random.multinomial(items, np.full(items, 1 / items), size=size).astype(np.float64)
        for number, system in enumerate(systems):
            for name, statistic in system.statistics.items():
                drawn[number][name].append(statistic(counts))
    whole = np.ones((1, items))
    found: list[dict[str, tuple[float, np.ndarray]]] = [
        {
            name: (float(statistic(whole)[0]), np.concatenate(drawn[number][name]))
            for name, statistic in system.statistics.items()
        }
        for number, system in enumerate(systems)
    ]
    by_name = {system.name: values for system, values in zip(systems, found, strict=True)}
    return [
        {
            name: Score(value, *_interval(values), _difference(system.against, name, by_name, value, values))
            for name, (value, values) in own.items()
        }
        for system, own in zip(systems, found, strict=True)
    ]


def _difference(
    against: str | None,
    measure: str,
    systems: Mapping[str, Mapping[str, tuple[float, np.ndarray]]],
    value: float,
    values: np.ndarray,
) -> Difference | None:
    if against is None or measure not in systems[against]:
        return None
    other, others = systems[against][measure]
    differences = values - others
    below, above = (differences <= 0).sum() + 1, (differences >= 0).sum() + 1
    p = min(1.0, 2 * min(below, above) / (len(differences) + 1))
    return Difference(against, value - other, *_interval(differences), float(p))


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_of(values: np.ndarray) -> Statistic:
    """Return the mean of one value for each item ``(N,)``."""
    return lambda counts: counts @ values / counts.sum(axis=1)


def pearson_of(x: np.ndarray, y: np.ndarray) -> Statistic:
    """Return Pearson's correlation of two values of each item ``(N,)``; 0 where one of them is constant."""
    return lambda counts: _correlation(x[None], y[None], counts)


def spearman_of(x: np.ndarray, y: np.ndarray) -> Statistic:
    """Return Spearman's correlation: Pearson's of the ranks, where equal values have their mean rank."""
    first, second = _Ranks(x), _Ranks(y)
    return lambda counts: _correlation(first.within(counts), second.within(counts), counts)


class _Ranks:
    """The ranks of values within resamples."""

    def __init__(self, values: np.ndarray) -> None:
        self._order = np.argsort(values, kind="stable")
        self._group = np.unique(values, return_inverse=True)[1]
        sizes = np.bincount(self._group)
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def within(self, counts: np.ndarray) -> np.ndarray:
        """Return the ranks ``(R, N)`` within resamples."""
        sizes = np.add.reduceat(counts[:, self._order], self._starts, axis=1)
        ranks = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
        return ranks[:, self._group]


def _correlation(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=1, keepdims=True)
    dx = x - (counts * x).sum(axis=1, keepdims=True) / total
    dy = y - (counts * y).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((counts * dx * dx).sum(axis=1) * (counts * dy * dy).sum(axis=1))
    together = (counts * dx * dy).sum(axis=1)
    return np.divide(together, spread, out=np.zeros_like(spread), where=spread > 0)
