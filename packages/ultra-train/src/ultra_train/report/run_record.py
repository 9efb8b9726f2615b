"""Reading what a run has left in its folder, whole or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ultra_core.errors import UltraError
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.config import Preset, load_preset
from ultra_train.report.charts import Series
from ultra_train.system import files, run_files
from ultra_train.tasks.base import Task
from ultra_train.tasks.loading import load_task

Record = Mapping[str, Any]


@attrs.frozen(kw_only=True, slots=False)
class RunRecord:
    """What a run has recorded.

    Attributes:
        name: name of the run.
        lines: the lines of ``metrics.jsonl`` that could be read.
        facts: ``run.json``; empty where there is none.
        preset: its resolved preset, or None where that cannot be loaded.
        task: its task, or None.
        running: whether a process trains in the folder now.
        notes: what is missing or damaged, in sentences.
    """

    name: str
    lines: Sequence[Record] = ()
    facts: Record = attrs.field(factory=dict)
    preset: Preset | None = None
    task: Task | None = None
    running: bool = False
    notes: Sequence[str] = ()

    @cached_property
    def parts(self) -> list[Record]:
        """The parts of the run, one for each time that it was started or resumed."""
        parts = self.facts.get("parts")
        return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []

    @cached_property
    def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The updates and the finite values of every metric, in the order of their first lines."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for line in self.lines:
            if "event" in line:
                continue
            step = line.get("step", 0)
            for name, value in line.items():
                if name != "step" and is_number(value):
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(step)
                    values.append(value)
        return {name: (np.array(steps, float), np.array(ys, float)) for name, (steps, ys) in found.items()}

    @cached_property
    def events(self) -> list[Record]:
        """The lines that record events."""
        return [line for line in self.lines if isinstance(line.get("event"), str)]

    def points(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the updates and the finite values of a metric; none where it was not measured."""
        return self.metrics.get(metric, (np.empty(0), np.empty(0)))

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric, or None."""
        values = self.points(metric)[1]
        return float(values[-1]) if len(values) else None

    def axes(self, steps: Sequence[float] | np.ndarray) -> dict[str, np.ndarray]:
        """Return updates, tokens and hours of training at updates; between two lines, in proportion."""
        at = np.asarray(steps, dtype=np.float64)
        found = {"step": at}
        for axis, metric in (("tokens", "tokens_seen"), ("hours", "training_hours")):
            known, values = self.points(metric)
            if len(known):
                found[axis] = np.interp(at, *_ascending([0.0, *known], [0.0, *values]))
        return found

    def series(self, metric: str, label: str, **options: Any) -> Series:
        """Return the curve of a metric."""
        steps, values = self.points(metric)
        return Series(name=label, x=self.axes(steps), y=values, **options)


def _ascending(positions: list[float], values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return points in the order of their positions, which damaged files may lack."""
    order = np.argsort(positions, kind="stable")
    return np.asarray(positions)[order], np.asarray(values)[order]


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def read_run(folder: Path, *, name: str | None = None, running: bool = False) -> RunRecord:
    """Read the folder of a run; what is missing or damaged is left out, with a note.

    Args:
        folder: folder of the run.
        name: name of the run; by default that of its folder.
        running: whether a process trains in it now.
    """
    notes: list[str] = []
    preset = _preset(folder / run_files.CONFIG, notes)
    return RunRecord(
        name=name or folder.resolve().name,
        lines=_lines(folder / run_files.METRICS, notes),
        facts=_facts(folder / run_files.FACTS, notes),
        preset=preset,
        task=_task(preset, notes),
        running=running,
        notes=notes,
    )


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        notes.append(f"There is no {path.name}, so no curves are shown.")
        return []
    lines = MetricsFile(path).read()
    *whole, rest = path.read_bytes().split(b"\n")
    if damaged := len(whole) - len(lines):
        what = "a damaged line, which is" if damaged == 1 else f"{damaged} damaged lines, which are"
        notes.append(f"{path.name} has {what} left out.")
    if rest.strip():
        notes.append(f"The last line of {path.name} is cut off, as a killed process leaves it.")
    if not lines:
        notes.append(f"{path.name} has no lines yet, so no curves are shown.")
    return _with_perplexity(lines)


def _with_perplexity(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``perplexity`` to the training lines of a run whose evaluations measure it."""
    if not any("eval_perplexity" in line for line in lines):
        return lines
    return [
        {**line, "perplexity": math.exp(line["loss"])}
        if "event" not in line and is_number(line.get("loss")) and line["loss"] < 700
        else line
        for line in lines
    ]


def _facts(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        facts = files.read_json(path)
    except (OSError, ValueError) as error:
        what = f"cannot be read ({error})" if path.exists() else "is missing"
        notes.append(f"{path.name} {what}, so that machine, versions and duration are not known.")
        return {}
    if isinstance(facts, dict):
        return facts
    notes.append(f"{path.name} is damaged, so that machine, versions and duration are not known.")
    return {}


def _preset(path: Path, notes: list[str]) -> Preset | None:
    if not path.is_file():
        notes.append(f"{path.name} is missing, so that the settings are not known.")
        return None
    try:
        return load_preset(path)
    except UltraError as error:
        notes.append(f"{path.name} cannot be loaded, so that no settings are shown: {error}")
        return None


def _task(preset: Preset | None, notes: list[str]) -> Task | None:
    if preset is None:
        return None
    try:
        return load_task(preset.task)
    except UltraError as error:
        notes.append(f"The charts of the task are missing: {error}")
        return None
