"""The tables of a report: its events, its settings, and the facts about machine and commands."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from datetime import datetime

from ultra_train.report.differences import differences_table
from ultra_train.report.marks import incidents
from ultra_train.report.run_record import Record, RunRecord, is_number
from ultra_train.report.settings import changed_settings
from ultra_train.report.tables import Markup, section, table
from ultra_train.report.words import duration

MOST_EVENTS = 200
"""Rows of the table of events."""


def events_section(run: RunRecord) -> str:
    """Return the card with the events of a run; an empty text where nothing happened."""
    found = incidents(run)
    if not found:
        return ""
    shown = found[-MOST_EVENTS:]
    rows = [
        [f"{one.step:,}", Markup(f'<span class="kind {one.kind}">{html.escape(one.name)}</span>'), one.text]
        for one in shown
    ]
    left_out = len(found) - len(shown)
    note = f"The last {len(shown)} of {len(found):,}; metrics.jsonl has all of them." if left_out else ""
    return section("Events", table(["update", "what", "why"], rows), note=note)


def settings_section(run: RunRecord) -> str:
    """Return the card with the settings that differ from the defaults."""
    if run.preset is None:
        return ""
    rows = [[setting.key, setting.value, setting.default] for setting in changed_settings(run.preset)]
    content = table(["key", "value", "default"], rows)
    return section(
        "Settings that differ from the defaults", content, note="All are in config.yaml.", half=True
    )


def differences_section(runs: Sequence[RunRecord]) -> str:
    """Return the card with the settings that differ between runs."""
    found = differences_table([run.name for run in runs], [run.preset for run in runs])
    return section("Settings that differ between the runs", found or "<p>None.</p>")


def facts_section(run: RunRecord) -> str:
    """Return the card with data, parameters, machine, versions, duration and commands."""
    rows = [[name, text] for name, text in (*_data(run), *_facts(run)) if text]
    return section("Data, machine, versions, commands", table([], rows), half=True) if rows else ""


def _data(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what the texts were, once although every part of a run may record it."""
    told = [str(event.get("reason", "")) for event in run.events if event["event"] == "data"]
    yield from (("data", text) for text in dict.fromkeys(told))


def _facts(run: RunRecord) -> Iterator[tuple[str, str | Markup]]:
    if not run.parts:
        return
    last = run.parts[-1]
    machine, versions = _mapping(last.get("machine")), _mapping(last.get("versions"))
    total, trained = run.facts.get("parameters"), run.facts.get("trainable_parameters")
    if is_number(total):
        yield "parameters", f"{total:,}{f', of which {trained:,} are trained' if trained != total else ''}"
    processes = _count(last.get("processes"))
    yield "device", f"{last.get('device', '')}{f', {processes} processes' if processes > 1 else ''}"
    yield "precision", str(last.get("precision", ""))
    cores, memory = machine.get("cores"), machine.get("memory_gb")
    yield "processor", f"{machine.get('processor', '')}, {cores} cores, {memory} GB of memory"
    gpus = machine.get("gpus")
    yield "GPUs", ", ".join(map(str, gpus)) if isinstance(gpus, list) else ""
    yield "system", str(machine.get("system", ""))
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions.items())
    for number, part in enumerate(run.parts):
        yield ("started" if number == 0 else "resumed"), _period(part)
        yield "command", Markup(f"<code>{html.escape(str(part.get('command', '')))}</code>")


def _period(part: Record) -> str:
    """Return when a part began and ended, and at which updates."""
    started, ended = (_time(part.get(key)) for key in ("started", "ended"))
    at = f"{started:%Y-%m-%d %H:%M} UTC" if started is not None else "at an unknown time"
    told = f"{at}, after update {_count(part.get('step')):,}"
    if started is None or ended is None:
        return told
    spent = duration((ended - started).total_seconds())
    return f"{told}; {spent} until update {_count(part.get('last_step')):,} ({part.get('outcome', '')})"


def _count(value: object) -> int:
    return value if type(value) is int else 0


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _mapping(value: object) -> Record:
    return value if isinstance(value, dict) else {}
