"""The card with the confusion matrix of the last evaluation, and what it says about each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ultra_train.report.run_record import RunRecord
from ultra_train.report.tables import Markup, section, table

MOST = 40
"""Labels of the largest matrix that is shown; of more labels, only the commonest mistakes are."""
MISTAKES = 15


def confusion_section(run: RunRecord) -> str:
    """Return the card of a run; an empty text where no evaluation wrote an event ``confusion``."""
    found = [event for event in run.events if event["event"] == "confusion"]
    if not found:
        return ""
    last = found[-1]
    labels, matrix = [str(label) for label in last["labels"]], np.array(last["matrix"])
    parts = [table(["label", "precision", "recall", "F1", "rows"], _by_label(labels, matrix), numbers=True)]
    if len(labels) <= MOST:
        parts.insert(0, table(["true label", *labels], _rows(labels, matrix), numbers=True))
    mistakes = list(_mistakes(labels, matrix))
    if mistakes:
        parts.append(table(["true label", "guessed", "times"], mistakes))
    note = f"Of update {last.get('step', 0):,}: a row for every true label, a column for every guess."
    return section("Right and wrong labels", "".join(parts), note=note)


def _rows(labels: Sequence[str], matrix: Any) -> Iterator[list[object]]:
    """Yield the rows of the matrix; the more of its rows a label has in a cell, the darker that is."""
    for label, counts in zip(labels, matrix, strict=True):
        total = max(1, int(counts.sum()))
        yield [label, *(_cell(int(count), int(count) / total) for count in counts)]


def _cell(count: int, share: float) -> Markup:
    if not count:
        return Markup()
    return Markup(
        f'<span style="background: rgb(70 130 180 / {share:.2f}); padding: 0 .4em">{count:,}</span>'
    )


def _by_label(labels: Sequence[str], matrix: Any) -> Iterator[list[object]]:
    for number, label in enumerate(labels):
        right, rows, guessed = matrix[number, number], matrix[number].sum(), matrix[:, number].sum()
        if not rows and not guessed:
            continue
        f1 = 2 * right / (rows + guessed)
        values = (right / guessed if guessed else 0.0, right / rows if rows else 0.0, f1)
        yield [label, *(f"{value:.3f}" for value in values), f"{rows:,}"]


def _mistakes(labels: Sequence[str], matrix: Any) -> Iterator[list[object]]:
    """Yield the commonest pairs of a true label and a wrong guess."""
    wrong = matrix - np.diag(np.diag(matrix))
    for index in np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES].tolist():
        true, guess = divmod(index, len(labels))
        if wrong[true, guess]:
            yield [labels[true], labels[guess], f"{wrong[true, guess]:,}"]
