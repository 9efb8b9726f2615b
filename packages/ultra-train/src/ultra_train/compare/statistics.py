"""Means with confidence intervals from Student's t distribution, over the seeds of an arm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

LEVEL = 0.95
"""Coverage of every interval."""


@attrs.frozen
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: the mean.
        half_width: half of the length of its confidence interval; None for a single seed.
        count: number of seeds.
    """

    mean: float
    half_width: float | None
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean for a single seed."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval; the mean for a single seed."""
        return self.mean + (self.half_width or 0.0)

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and 0 lies outside it."""
        return self.half_width is not None and not self.low <= 0.0 <= self.high


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate | None:
    """Return the mean of values and its interval, mean +- t s / sqrt(n); None without values."""
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Estimate(mean, t_quantile(count - 1, level) * deviation / math.sqrt(count), count)


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """Return the t for which a t-distributed variable lies within -t and t with probability ``level``.

    Args:
        freedom: degrees of freedom, at least 1.
        level: the probability, between 0 and 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(80):  # halves the angle atan(t / sqrt(freedom)) down to rounding
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _central_probability(angle: float, freedom: int) -> float:
    """Return P(-t < T < t) with t = sqrt(freedom) tan(angle), by the finite series for whole degrees.

    Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even degrees of freedom).
    """
    odd = freedom % 2
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
