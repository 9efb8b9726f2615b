"""What ``plugin check`` prints: broken rules as they are found, and at the end a line for each other rule."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

import click

from ultra_core.testing import Outcome
from ultra_core.testing.report import INDENT

WIDEST = 100
"""The largest number of columns, however wide the terminal is."""


class Printer:
    """Prints the outcomes of the trials of one plugin.

    Args:
        name: the plugin, which the labels of its cases repeat.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes: list[Outcome] = []
        self.columns = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)

    def show(self, outcome: Outcome) -> None:
        """Print a broken rule in full the first time, and keep others for :meth:`finish`.

        Where it is broken in the same way for another case, its case alone is added.
        """
        before = [other for other in self.outcomes if other.error and other.trial.rule is outcome.trial.rule]
        self.outcomes.append(outcome)
        if outcome.error is None:
            return
        rule, case = outcome.trial.rule, self._case(outcome)
        head = f"{rule.id} {case}".strip()
        first, *details = outcome.error.details()
        if not before:
            self._line("broken", f"{head}: {rule.statement}", "red")
        elif any(other.error and other.error.seen == outcome.error.seen for other in before):
            self._line("broken", f"{head}: the same", "red")
            return
        else:
            self._line("broken", head, "red")
        for text in (first, *(() if before else details)):
            self._wrapped(INDENT, text, INDENT + " " * 6)

    def finish(self) -> None:
        """Print a line for each rule that was kept or not tried, with the cases that it was tried on."""
        for kind, word, color in (("kept", "kept", "green"), ("left out", "skipped", "yellow")):
            groups: dict[tuple[str, str], list[Outcome]] = {}
            for outcome in self.outcomes:
                if outcome.kind == kind:
                    groups.setdefault((outcome.trial.rule.id, outcome.reason), []).append(outcome)
            for (id, reason), group in groups.items():
                cases = ", ".join(filter(None, map(self._bare, map(self._case, group))))
                text = f"not tried because {reason}" if reason else group[0].trial.rule.statement
                self._line(word, f"{id}{f' ({cases})' if cases else ''}: {text}", color)

    def _case(self, outcome: Outcome) -> str:
        """Return the case without the name of the plugin: ``(causal)``."""
        return str(outcome.trial.case).removeprefix(self.name).strip()

    @staticmethod
    def _bare(case: str) -> str:
        return case.removeprefix("(").removesuffix(")")

    def _line(self, word: str, text: str, color: str) -> None:
        lines = self._lines(f"{word:{len(INDENT)}}", text, INDENT)
        click.echo(click.style(lines[0][: len(word)], fg=color) + lines[0][len(word) :])
        self._echo(lines[1:])

    def _wrapped(self, first: str, text: str, others: str) -> None:
        self._echo(self._lines(first, text, others))

    def _lines(self, first: str, text: str, others: str) -> list[str]:
        return textwrap.wrap(
            text,
            self.columns,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @staticmethod
    def _echo(lines: Iterable[str]) -> None:
        for line in lines:
            click.echo(line)
