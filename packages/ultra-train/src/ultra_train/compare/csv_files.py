"""``comparison.csv``, one row a measured value, and ``summary.csv``, one row an arm."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ultra_train.compare.folder import SUMMARY, TABLE, ComparisonFolder
from ultra_train.compare.plan import Plan
from ultra_train.compare.results import LOSS, Result
from ultra_train.compare.statistics import Estimate
from ultra_train.compare.summary import COSTS, ArmSummary, ranked
from ultra_train.system import files

COLUMNS = (
    "arm",
    "seed",
    "learning_rate",
    "lr_factor",
    "status",
    "step",
    "tokens",
    "hours",
    "metric",
    "value",
)


def write_csv(
    folder: ComparisonFolder, plan: Plan, results: Sequence[Result], summaries: Sequence[ArmSummary]
) -> None:
    """Write both tables.

    Args:
        folder: the folder of the comparison.
        plan: the plan.
        results: those of all trials.
        summaries: those of all arms, the first one being the reference of differences.
    """
    _write(folder, TABLE, [COLUMNS, *_values(results)])
    metrics = (LOSS, "eval_perplexity", *plan.headline, *COSTS)
    header = ["arm", "learning_rate", "lr_factor", "at_edge", "seeds", "failed"]
    for name in (*metrics, "difference_to_first", "difference_to_best"):
        header += [name, f"{name}_low", f"{name}_high"]
    _write(folder, SUMMARY, [[*header, "problem"], *(_row(s, summaries, metrics) for s in summaries)])


def _values(results: Iterable[Result]) -> Iterator[Sequence[Any]]:
    for result in results:
        trial = result.trial
        same = (trial.arm, trial.seed, f"{trial.rate:.9g}", f"{trial.factor:.9g}", result.status)
        if not result.points:
            yield (*same, "", "", "", "", "")
        for point in result.points:
            place = (point.step, round(point.tokens), f"{point.hours:.6g}")
            for metric, value in point.values.items():
                yield (*same, *place, metric, f"{value:.9g}")


def _row(summary: ArmSummary, every: Sequence[ArmSummary], metrics: Sequence[str]) -> list[Any]:
    best = summary.best
    finished = sum(result.finished for result in best.results)
    failed = sum(not result.finished for rate in summary.rates for result in rate.results)
    cells: list[Any] = [
        summary.arm,
        f"{best.rate:.9g}",
        f"{best.factor:.9g}",
        summary.at_edge,
        finished,
        failed,
    ]
    for name in metrics:
        cells += _cells(summary.metric(name))
    for other in (every[0], ranked(every)[0]):
        cells += _cells(None if other is summary else summary.difference(other))
    return [*cells, "; ".join(summary.problems)]


def _cells(found: Estimate | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    ends = ["", ""] if found.half_width is None else [f"{found.low:.9g}", f"{found.high:.9g}"]
    return [f"{found.mean:.9g}", *ends]


def _write(folder: ComparisonFolder, name: str, rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.write_text(folder.path / name, text.getvalue())
