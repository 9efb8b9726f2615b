"""``report.html`` of a run, and the page of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ultra_train.report import details, overview
from ultra_train.report.confusion import confusion_section
from ultra_train.report.curves import charts
from ultra_train.report.marks import marks
from ultra_train.report.page import Page
from ultra_train.report.run_record import RunRecord, read_run
from ultra_train.report.samples import last_guesses, samples_section
from ultra_train.system.run_files import REPORT


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a run that no process trains, and return its path."""
    path = folder / REPORT
    page_of([read_run(folder)]).write(path)
    return path


def page_of(runs: Sequence[RunRecord]) -> Page:
    """Return the page of one run, or of several with a colour each.

    Args:
        runs: the runs; their names are different.
    """
    return _one(runs[0]) if len(runs) == 1 else _several(runs)


def _one(run: RunRecord) -> Page:
    page = Page(run.name)
    preset = run.preset
    about = [preset.meta.summary, f"task {preset.task}"] if preset else []
    page.add(overview.head(run.name, " · ".join(filter(None, about)), [overview.state_of(run)]))
    page.add(overview.warnings(run.notes))
    page.add(overview.figures(run))
    for chart in charts([run], list(marks(run))):
        page.add_chart(chart)
    page.add(confusion_section(run))
    page.add(samples_section(run))
    page.add(details.events_section(run))
    page.add(details.settings_section(run))
    page.add(details.facts_section(run))
    return page


def _several(runs: Sequence[RunRecord]) -> Page:
    title = ", ".join(run.name for run in runs)
    page = Page(title)
    page.add(overview.head(f"{len(runs)} runs", title, []))
    page.add(overview.warnings([f"{run.name}: {note}" for run in runs for note in run.notes]))
    page.add(overview.results_table(runs))
    page.add(details.differences_section(runs))
    for chart in charts(runs, [mark for run in runs for mark in marks(run)]):
        page.add_chart(chart)
    page.add(last_guesses(runs))
    return page
