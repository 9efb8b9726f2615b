"""The curves of an arm over its seeds: means with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs

from ultra_train.compare.results import Point
from ultra_train.compare.statistics import estimate
from ultra_train.compare.summary import ArmSummary
from ultra_train.report.charts import COLOURS as COLOUR_COUNT
from ultra_train.report.charts import DASHES, Chart, Series


def chart(
    title: str,
    metric: str,
    summaries: Sequence[ArmSummary],
    *,
    bands: bool = False,
    note: str = "",
    whole: bool = False,
) -> Chart:
    """Return a chart of a metric with a curve for every arm, at the learning rate that was chosen for it.

    Args:
        title: heading of the chart.
        metric: the metric.
        summaries: the arms; their places give them their colours.
        bands: whether to draw the intervals over the seeds.
        note: a line of explanation.
        whole: whether it takes the full width of a wide page.
    """
    series = [
        attrs.evolve(curve, low=curve.low if bands else None)
        for number, summary in enumerate(summaries)
        for curve in _curve(summary, metric, number)
    ]
    return Chart(title=title, series=series, note=note, whole=whole)


def _curve(summary: ArmSummary, metric: str, number: int) -> Iterator[Series]:
    """Yield the mean over the seeds of an arm; nothing where the metric was not measured."""
    ended = [result for result in summary.best.results if result.finished]
    seeds = [curve for result in ended or summary.best.results if (curve := result.curve(metric))]
    if not seeds:
        return
    steps = _means_of(seeds)
    values = [estimate([point.values[metric] for point in points]) for points in steps]
    found = [value for value in values if value is not None]
    several, most = len(seeds) > 1, 1.0 if metric.endswith("accuracy") else math.inf
    yield Series(
        name=summary.arm,
        x={
            "step": [_mean(point.step for point in points) for points in steps],
            "tokens": [_mean(point.tokens for point in points) for points in steps],
            "hours": [_mean(point.hours for point in points) for points in steps],
        },
        y=[value.mean for value in found],
        low=[max(0.0, value.low) for value in found] if several else None,
        high=[min(most, value.high) for value in found] if several else None,
        group=summary.arm,
        colour=number % COLOUR_COUNT,
        dash=number // COLOUR_COUNT % len(DASHES),
    )


def _means_of(seeds: Sequence[Sequence[Point]]) -> list[tuple[Point, ...]]:
    """Return the points of all seeds that belong together: the first of each, the second, and so on.

    Runs of the same budget measure at the same parts of it. What one seed has beyond the shortest, because it
    made more updates in the same minutes, is left out.
    """
    return list(zip(*seeds, strict=False))


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
