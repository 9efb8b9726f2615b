"""The head of a report: the state of its runs and their end results."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from ultra_train.report.charts import swatch
from ultra_train.report.curves import label_of
from ultra_train.report.run_record import RunRecord, is_number
from ultra_train.report.settings import MISSING
from ultra_train.report.tables import Markup, breakable, section, table
from ultra_train.report.words import duration, short

LOSSES = {"eval_loss": "Held-out loss", "loss": "Training loss", "eval_perplexity": "Perplexity"}
"""Metrics of every task at the head of a report, with their names there."""

MOST_IN_A_ROW = 6
"""Figures that stand in one row; more stand in two."""


@attrs.frozen
class State:
    """The state of a run.

    Attributes:
        word: in a word or two.
        kind: ``good``, ``bad`` or empty, which decides the colour.
        reason: why it stopped, or an empty text.
    """

    word: str
    kind: str = ""
    reason: str = ""


def state_of(run: RunRecord) -> State:
    """Return whether a run is finished, running, stopped or was killed."""
    if run.running:
        return State("running")
    if not run.parts:
        return State("state not recorded")
    outcome = run.parts[-1].get("outcome")
    if outcome == "finished":
        return State("finished", "good")
    if outcome is None:
        return State("killed", "bad", "its process ended without a word")
    return State("stopped", "bad", str(outcome))


def head(title: str, subtitle: str, states: Sequence[State]) -> str:
    """Return the head of a page."""
    pills = "".join(f'<span class="state {one.kind}">{html.escape(one.word)}</span>' for one in states)
    reasons = [f"{one.word}: {one.reason}" for one in states if one.reason]
    told = " · ".join(filter(None, [subtitle, *reasons]))
    return (
        f"<header class=head><div class=line><h1>{html.escape(title)}</h1>{pills}</div>"
        f"<p class=subtitle>{html.escape(told)}</p></header>"
    )


def warnings(notes: Sequence[str]) -> str:
    """Return the notes about missing and damaged files; an empty text where there are none."""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<section class=warnings><ul>{items}</ul></section>" if notes else ""


def results(run: RunRecord) -> dict[str, str]:
    """Return the end results of a run by name: losses, metrics of its task, size and duration."""
    found: dict[str, str] = {}
    headline = run.task.headline_metrics if run.task is not None else ()
    for metric, label in LOSSES.items():
        if (value := run.last(metric)) is not None:
            found[label] = f"{value:.4g}"
    for metric in headline:
        if (value := run.last(metric)) is not None:
            share = 0 <= value <= 1
            found[label_of(metric).capitalize()] = f"{value:.1%}" if share else f"{value:.4g}"
    if len(steps := run.points("tokens_seen")[0]):
        found["Updates"] = f"{steps[-1]:,.0f}"
    found |= dict(_sizes(run))
    return found


def _sizes(run: RunRecord) -> Iterator[tuple[str, str]]:
    tokens, hours = run.last("tokens_seen"), run.last("training_hours")
    if tokens is not None:
        yield "Tokens", short(tokens)
    if hours is not None:
        yield "Training time", duration(hours * 3600)
    if tokens is not None and hours:
        yield "Tokens a second", short(tokens / (hours * 3600))
    if is_number(run.facts.get("parameters")):
        yield "Parameters", short(run.facts["parameters"])
    if dropped := run.last("dropped_updates"):
        yield "Dropped updates", f"{dropped:,.0f}"


def figures(run: RunRecord) -> str:
    """Return the end results of a run as large figures."""
    return large(results(run))


def large(found: Mapping[str, str], texts: Collection[str] = ()) -> str:
    """Return results as large figures in one or two rows; an empty text without any.

    Args:
        found: the results by name.
        texts: names of those that are no numbers, and may take several lines.
    """
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd{' class=text' if name in texts else ''}>"
        f"{html.escape(value)}</dd></div>"
        for name, value in found.items()
    )
    columns = len(found) if len(found) <= MOST_IN_A_ROW else -(-len(found) // 2)
    return f'<dl class=figures style="--columns:{columns}">{items}</dl>' if items else ""


def results_table(runs: Sequence[RunRecord]) -> str:
    """Return the end results of several runs side by side."""
    of_runs = [results(run) for run in runs]
    names = list(dict.fromkeys(name for one in of_runs for name in one))
    rows = [
        [_coloured(run.name, number), state_of(run).word, *(one.get(name, MISSING) for name in names)]
        for number, (run, one) in enumerate(zip(runs, of_runs, strict=True))
    ]
    return section("Results", table(["run", "state", *names], rows, numbers=True))


def _coloured(name: str, number: int) -> Markup:
    return Markup(f"<i {swatch(number)}></i>{breakable(name)}")
