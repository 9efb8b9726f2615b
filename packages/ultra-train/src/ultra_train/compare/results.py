"""What a trial left: its end, its final metrics, and its curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.plan import Plan, Trial
from ultra_train.system import files
from ultra_train.system.run_files import METRICS

LOSS = "eval_loss"
"""The metric that ranks arms and chooses learning rates."""

_DIVERGED = 1.1
"""Factor by which the last loss in training exceeds the first one of a run that diverged."""


@attrs.frozen
class Point:
    """The metrics of a run after an update.

    Attributes:
        step: the update.
        tokens: real tokens until then.
        hours: hours spent in updates until then.
        values: the metrics.
    """

    step: int
    tokens: float
    hours: float
    values: Mapping[str, float]


@attrs.frozen(kw_only=True)
class Result:
    """A trial and what it left.

    Attributes:
        trial: the trial.
        status: ``finished``, ``failed``, or ``missing`` while there is no record.
        reason: why it failed.
        facts: the record that it left: updates, tokens, seconds, peak memory.
        points: its metrics over time.
    """

    trial: Trial
    status: str
    reason: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    points: Sequence[Point] = ()

    @property
    def finished(self) -> bool:
        """Whether it has a final loss."""
        return self.status == "finished" and self.final(LOSS) is not None

    @property
    def diverged(self) -> bool:
        """Whether it ended with a loss that is not finite, or a loss in training far above its first."""
        if self.status != "finished":
            return False
        curve = [point.values["loss"] for point in self.curve("loss")]
        return self.final(LOSS) is None or (len(curve) > 1 and curve[-1] > _DIVERGED * curve[0])

    @property
    def problem(self) -> str:
        """What is wrong with it in a line; empty when nothing is."""
        if self.status == "failed":
            return self.reason.strip().splitlines()[0] if self.reason.strip() else "it failed"
        if self.diverged:
            last = self.final(LOSS)
            return "diverged: " + (
                "its loss is not finite" if last is None else "its loss ended above its start"
            )
        return ""

    def final(self, metric: str) -> float | None:
        """Return the last value of a metric, or of a fact of the record; None where there is none."""
        if isinstance(value := self.facts.get(metric), (int, float)):
            return float(value)
        return next((p.values[metric] for p in reversed(self.points) if metric in p.values), None)

    def curve(self, metric: str) -> list[Point]:
        """Return the points that have a metric."""
        return [point for point in self.points if metric in point.values]


def read_results(plan: Plan, folder: ComparisonFolder) -> list[Result]:
    """Return the results of all trials, in the order of the plan."""
    return [read_result(trial, folder) for trial in plan.trials]


def read_result(trial: Trial, folder: ComparisonFolder) -> Result:
    """Return the result of a trial, as far as it has come."""
    points = _points(MetricsFile(folder.run(trial) / METRICS).read())
    try:
        facts = files.read_json(folder.result(trial))
    except (OSError, ValueError):
        return Result(trial=trial, status="missing", points=points)
    if "seconds" in facts and facts.get("tokens"):
        facts["tokens_per_second"] = facts["tokens"] / max(facts["seconds"], 1e-9)
    reason, status = str(facts.get("reason", "")), str(facts.get("status", "failed"))
    return Result(trial=trial, status=status, reason=reason, facts=facts, points=points)


def _points(records: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the metrics of a run, those of the same update in one point.

    Tokens and hours are on the lines of training; those of evaluations in between lie between them.
    """
    merged: dict[int, dict[str, float]] = {}
    for record in records:
        if "event" not in record:
            merged.setdefault(record.get("step", 0), {}).update(_numbers(record))
    marks, seconds, tokens = [(0, 0.0, 0.0)], 0.0, 0.0
    for step, values in sorted(merged.items()):
        if "tokens_seen" in values:
            seconds += (values["tokens_seen"] - tokens) / max(values.get("tokens_per_second", 0.0), 1e-9)
            tokens = values["tokens_seen"]
            marks.append((step, tokens, seconds / 3600))
    return [Point(step, *_at(marks, step), values) for step, values in sorted(merged.items())]


def _at(marks: Sequence[tuple[int, float, float]], step: int) -> tuple[float, float]:
    """Return tokens and hours at an update, on the line through the marks around it."""
    after = next((mark for mark in marks if mark[0] >= step), marks[-1])
    before = next((mark for mark in reversed(marks) if mark[0] < after[0]), after)
    share = (step - before[0]) / max(1, after[0] - before[0])
    return before[1] + share * (after[1] - before[1]), before[2] + share * (after[2] - before[2])


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in record.items()
        if key != "step" and isinstance(value, (int, float)) and math.isfinite(value)
    }
