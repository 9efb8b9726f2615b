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
        """Print the rules that were kept, and those that were not tried, by their reason.

        Each that was kept has a line of its own with its cases, but where something is broken only its id:
        what has to be read then is not far above.
        """
        kept: dict[str, list[Outcome]] = {}
        left_out: dict[str, dict[str, list[Outcome]]] = {}
        for outcome in self.outcomes:
            groups = left_out.setdefault(outcome.reason, {}) if outcome.reason else kept
            if outcome.error is None:
                groups.setdefault(outcome.trial.rule.id, []).append(outcome)
        if any(outcome.error for outcome in self.outcomes):
            if kept:
                self._line("kept", ", ".join(kept), "green")
        else:
            for id, group in kept.items():
                cases = f" ({', '.join(self._cases(group))})" if any(self._cases(group)) else ""
                self._line("kept", f"{id}{cases}: {group[0].trial.rule.statement}", "green")
        for reason, rules in left_out.items():
            names = ", ".join(self._named(id, group) for id, group in rules.items())
            self._line("skipped", f"{names}: not tried because {reason}", "yellow")

    def _named(self, id: str, group: list[Outcome]) -> str:
        """Return the id of a rule with the cases of its outcomes, unless these are all that were tried."""
        cases, every = self._cases(group), self._cases(self.outcomes)
        return id if {*cases} == {*every} or not any(cases) else f"{id} ({', '.join(cases)})"

    def _cases(self, outcomes: list[Outcome]) -> list[str]:
        return [self._case(outcome).removeprefix("(").removesuffix(")") for outcome in outcomes]

    def _case(self, outcome: Outcome) -> str:
        """Return the case without the name of the plugin: ``(causal)``."""
        return str(outcome.trial.case).removeprefix(self.name).strip()

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
