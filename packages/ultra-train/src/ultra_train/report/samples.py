"""The table of sample predictions: what the model made of the same inputs at every evaluation."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ultra_train.report.run_record import Record, RunRecord
from ultra_train.report.settings import MISSING
from ultra_train.report.tables import Markup, section, table
from ultra_train.tasks.base import LEAST_SHOWN

COLUMNS = 7
"""Evaluations that the table shows, the first and the last among them."""

NOTHING_LIKELY = f"<p>No guess has a probability of {LEAST_SHOWN:.1%} or more.</p>"


def samples_section(run: RunRecord) -> str:
    """Return the card with the samples of a run; an empty text where there are none."""
    evaluations = {step: samples for step, samples in map(_samples, run.events) if samples}
    if not evaluations:
        return ""
    steps = sorted(evaluations)
    chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, COLUMNS).round().astype(int))]
    shown = [sample for step in chosen for sample in evaluations[step].items()]
    answers = {name: sample["expected"] for name, sample in shown if sample.get("expected")}
    head = ["input", *(["expected"] if answers else []), *(f"update {step:,}" for step in chosen)]
    rows = []
    for name in dict(shown):
        cells = [_cell(evaluations[step].get(name)) for step in chosen]
        if any(cells):
            rows.append([name, *([str(answers.get(name, ""))] if answers else []), *_filled(cells)])
    if not rows:
        return section("Sample predictions", NOTHING_LIKELY)
    note = "The first guess and how sure the model is of it; right guesses are set in green."
    return section("Sample predictions", table(head, rows), note=note)


def _samples(event: Record) -> tuple[int, Mapping[str, Record]]:
    """Return the update of an event and its samples by input; none for another event."""
    samples = event.get("samples") if event["event"] == "samples" else None
    found = [s for s in samples if isinstance(s, dict) and "given" in s] if isinstance(samples, list) else []
    return event.get("step", 0), {str(sample["given"]): sample for sample in found}


def _cell(sample: Record | None) -> Markup:
    """Return the best guess, the others where the pointer is; an empty text where none is likely."""
    given = sample.get("guesses") if sample is not None else None
    guesses = [guess for guess in given if _is_told(guess)] if isinstance(given, list) else []
    if sample is None or not guesses:
        return Markup()
    best = guesses[0]
    right = best.get("text") == sample.get("expected")
    kind = "right" if right else "guess"
    title, text = html.escape(", ".join(map(_words, guesses))), html.escape(str(best.get("text", "")))
    score = f"<span class=score>{_score(best)}</span>"
    return Markup(f'<span class={kind} title="{title}">{text}</span> {score}')


def _filled(cells: Sequence[Markup]) -> list[Markup]:
    return [cell or Markup(MISSING) for cell in cells]


def _is_told(guess: Mapping[str, Any]) -> bool:
    """Whether a guess is more than 0 %; scores outside of [0, 1] are no probabilities."""
    score = guess.get("score")
    return not isinstance(score, (int, float)) or not 0 <= score < LEAST_SHOWN


def _words(guess: Mapping[str, Any]) -> str:
    return f"{guess.get('text', '')} {_score(guess)}".strip()


def _score(guess: Mapping[str, Any]) -> str:
    score = guess.get("score")
    if not isinstance(score, (int, float)):
        return ""
    return f"{score:.0%}" if 0 <= score <= 1 else f"{score:.3g}"


def last_guesses(runs: Sequence[RunRecord]) -> str:
    """Return the card with the last guesses of several runs for the inputs that they share."""
    last = [dict(_last(run)) for run in runs]
    given = [name for name in last[0] if all(name in samples for samples in last)]
    if not given:
        return ""
    rows = [[name, *_filled(cells)] for name in given if any(cells := [_cell(one[name]) for one in last])]
    content = table(["input", *(run.name for run in runs)], rows) if rows else NOTHING_LIKELY
    return section("Sample predictions at the end", content)


def _last(run: RunRecord) -> Mapping[str, Record]:
    found: Mapping[str, Record] = {}
    for event in run.events:
        found = _samples(event)[1] or found
    return found
