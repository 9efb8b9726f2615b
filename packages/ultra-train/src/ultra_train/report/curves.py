"""The charts of a run: which metrics are drawn together, and what their curves are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from ultra_train.report.charts import Chart, Mark, Series
from ultra_train.report.run_record import RunRecord
from ultra_train.tasks.base import Curve


@attrs.frozen(kw_only=True)
class Recipe:
    """A chart of metrics.

    Attributes:
        curve: title and metrics; a name that ends with ``_`` is a prefix.
        unit: unit of the values.
        log: whether the vertical axis is logarithmic at first.
        whole: whether the chart takes the full width of a wide page.
        merges: whether equal curves are drawn as one, whose name has all of theirs.
        only_changes: whether the chart is left out while all values are equal.
    """

    curve: Curve
    unit: str = ""
    log: bool = False
    whole: bool = False
    merges: bool = False
    only_changes: bool = False


FIRST = (
    Recipe(curve=Curve("Loss", ("loss", "eval_loss")), whole=True),
    Recipe(curve=Curve("Perplexity", ("perplexity", "eval_perplexity")), log=True),
)
"""Charts above those of the task."""

BELOW = (
    Recipe(curve=Curve("Learning rate by role", ("lr_",)), merges=True),
    Recipe(curve=Curve("Gradient norm before clipping", ("grad_norm",)), log=True),
    Recipe(curve=Curve("Gradient norm by role", ("grad_norm_",)), log=True),
    Recipe(curve=Curve("Gradient norm by layer", ("grad_norm_layer_",)), log=True),
    Recipe(curve=Curve("Throughput", ("tokens_per_second",)), unit="real tokens per second"),
    Recipe(curve=Curve("Memory", ("memory_gb", "gpu_memory_gb", "gpu_peak_memory_gb")), unit="GB"),
    Recipe(curve=Curve("Temperature of the GPU", ("gpu_celsius",)), unit="°C"),
    Recipe(curve=Curve("Power draw of the GPU", ("gpu_watts",)), unit="W"),
    Recipe(curve=Curve("Utilisation of the GPU", ("gpu_busy",)), unit="share of the time"),
    Recipe(curve=Curve("Waiting for data", ("data_wait_share",)), unit="share of the time"),
    Recipe(curve=Curve("Dropped updates", ("dropped_updates",)), unit="so far", only_changes=True),
)
"""Charts below those of the task."""

LABELS = {
    "loss": "training",
    "eval_loss": "held out",
    "perplexity": "training",
    "eval_perplexity": "held out",
    "memory_gb": "resident set of the process",
    "gpu_memory_gb": "used on the GPU",
    "gpu_peak_memory_gb": "peak of the tensors on the GPU",
    "tokens_per_second": "tokens per second",
}
"""Names of curves that their metrics do not say by themselves."""

NOT_DRAWN = ("epoch", "tokens_seen", "training_hours", "learning_rate")
"""Metrics that are axes, or that a chart by role shows already."""

NOT_DRAWN_ENDINGS = ("_runtime", "_steps_per_second", "_samples_per_second")


def charts(runs: Sequence[RunRecord], marks: Sequence[Mark]) -> Iterator[Chart]:
    """Yield the charts of one or several runs; those without data are empty.

    Args:
        runs: the runs; each has a colour of its own when there are several.
        marks: events to mark in every chart.
    """
    own = {curve: None for run in runs if run.task is not None for curve in run.task.curves}
    recipes = [*FIRST, *(Recipe(curve=curve) for curve in own), *BELOW]
    measured = list(dict.fromkeys(name for run in runs for name in run.metrics))
    drawn: set[str] = set()
    for recipe in recipes:
        metrics = _metrics(recipe.curve, measured)
        drawn.update(metrics)
        yield _chart(recipe, metrics, runs, marks)
    for name in measured:
        if name not in drawn and name not in NOT_DRAWN and not name.endswith(NOT_DRAWN_ENDINGS):
            yield _chart(Recipe(curve=Curve(label_of(name).capitalize(), (name,))), [name], runs, marks)


def _metrics(curve: Curve, measured: Sequence[str]) -> list[str]:
    """Return the measured metrics of a curve; layers are not roles."""
    found = []
    for wanted in curve.metrics:
        if not wanted.endswith("_"):
            found += [wanted] if wanted in measured else []
            continue
        layers = wanted == "grad_norm_"
        found += [
            name
            for name in measured
            if name.startswith(wanted) and not (layers and name.startswith("grad_norm_layer_"))
        ]
    return found


def label_of(metric: str, curve: Curve | None = None) -> str:
    """Return the name of the curve of a metric."""
    prefixes = [name for name in curve.metrics if name.endswith("_")] if curve is not None else []
    for prefix in prefixes:
        metric = metric.removeprefix(prefix)
    return LABELS.get(metric, metric.removeprefix("eval_").replace("_", " "))


def _chart(recipe: Recipe, metrics: Sequence[str], runs: Sequence[RunRecord], marks: Sequence[Mark]) -> Chart:
    curves: list[Series] = []
    for number, run in enumerate(runs):
        labels = [(name, label_of(name, recipe.curve)) for name in metrics if name in run.metrics]
        own = [run.series(name, label, group=run.name) for name, label in labels]
        own = list(_merged(own)) if recipe.merges else own
        for index, one in enumerate(own):
            if len(runs) == 1:
                curves.append(attrs.evolve(one, colour=index, dash=index // 8))
                continue
            name = run.name if len(metrics) == 1 or len(own) == 1 else f"{run.name}: {one.name}"
            curves.append(attrs.evolve(one, name=name, colour=number, dash=index))
    if recipe.only_changes and len({value for one in curves for value in one.y}) < 2:
        curves = []
    return Chart(
        title=recipe.curve.title,
        series=curves,
        marks=marks,
        unit=recipe.unit,
        log=recipe.log,
        whole=recipe.whole,
    )


def _merged(curves: Sequence[Series]) -> Iterator[Series]:
    """Yield the curves, equal ones as one with all of their names."""
    equal: dict[bytes, list[Series]] = {}
    for curve in curves:
        values = np.asarray(curve.y)
        equal.setdefault(values.tobytes() + np.asarray(curve.x["step"]).tobytes(), []).append(curve)
    for same in equal.values():
        everything = len(same) == len(curves) > 1
        yield attrs.evolve(same[0], name="all roles" if everything else ", ".join(c.name for c in same))
