"""``report.html`` of a pipeline: its steps, their losses, and how good their models are."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from ultra_core.errors import UltraError
from ultra_train.config import load_any
from ultra_train.pipeline.evaluation import results_of
from ultra_train.pipeline.folder import PipelineFolder
from ultra_train.pipeline.form import PipelinePreset
from ultra_train.report import overview
from ultra_train.report.charts import Chart
from ultra_train.report.curves import charts
from ultra_train.report.evaluation_page import EvaluationPage
from ultra_train.report.page import Page
from ultra_train.report.run_record import RunRecord, read_run
from ultra_train.report.settings import MISSING
from ultra_train.report.tables import Markup, section, table
from ultra_train.report.words import duration
from ultra_train.run.folder_lock import is_held
from ultra_train.system.run_files import FACTS, REPORT


def page_of_pipeline(path: Path) -> Page | None:
    """Return the page of a pipeline by its folder; None for the folder of a run."""
    folder = PipelineFolder(path)
    try:
        preset = load_any(folder.config) if folder.config.is_file() else None
    except UltraError:
        return None
    return page_of(preset, folder) if isinstance(preset, PipelinePreset) else None


def page_of(preset: PipelinePreset, folder: PipelineFolder) -> Page:
    """Return the page of a pipeline, whose steps may be finished, stopped, or not started yet."""
    records = [
        read_run(folder.run(step.name), running=is_held(folder.run(step.name)))
        for step in preset.steps
        if (folder.run(step.name) / FACTS).is_file()
    ]
    page = Page(f"{folder.path.name}: pipeline")
    states = [overview.state_of(record) for record in records[-1:]]
    page.add(overview.head(folder.path.name, preset.meta.summary or "", states))
    page.add(overview.warnings([f"{record.name}: {note}" for record in records for note in record.notes]))
    if (results := results_of(folder)) is not None:
        for part in EvaluationPage(results).scores():
            page.add(part)
    page.add(_steps(preset, folder, {record.name: record for record in records}))
    for chart in _losses(records):
        page.add_chart(chart)
    return page


def _steps(preset: PipelinePreset, folder: PipelineFolder, records: dict[str, RunRecord]) -> str:
    """Return the table of the steps, each with a link to its own page."""
    rows: list[Sequence[object]] = []
    seconds = folder.seconds
    for step in preset.steps:
        record = records.get(step.name)
        known = (folder.run(step.name) / REPORT).is_file()
        name = html.escape(step.name)
        rows.append(
            [
                Markup(f'<a href="{name}/{REPORT}">{name}</a>' if known else name),
                overview.state_of(record).word if record is not None else "not started",
                step.base or MISSING,
                _results(record) if record is not None else MISSING,
                duration(seconds[step.name]) if step.name in seconds else MISSING,
            ]
        )
    note = "Each name leads to the page of its run."
    return section("Steps", table(["step", "state", "base", "results", "time"], rows), note=note)


def _results(record: RunRecord) -> str:
    return ", ".join(f"{name.lower()} {value}" for name, value in overview.results(record).items())


def _losses(records: Sequence[RunRecord]) -> Iterator[Chart]:
    """Yield the first chart of each step, which is that of its loss."""
    for record in records:
        chart = next(charts([record], []))
        yield attrs.evolve(chart, title=f"{chart.title}: {record.name}", whole=False)
