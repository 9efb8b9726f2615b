"""Running trials in order, also after errors, and the report of their outcomes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import attrs

from ultra_core.testing.findings import RuleBroken
from ultra_core.testing.trials import Trial

INDENT = " " * 8


@attrs.frozen
class Outcome:
    """The outcome of a trial: broken if there is an error, not tried if there is a reason, else kept."""

    trial: Trial
    error: RuleBroken | None = None
    reason: str = ""

    @property
    def kind(self) -> Literal["kept", "broken", "left out"]:
        """The first word of its line."""
        return "broken" if self.error else "left out" if self.reason else "kept"

    def __str__(self) -> str:
        if self.reason:
            return f"{self.kind} {self.trial.label}: {self.reason}"
        details = self.error.details() if self.error else []
        line = f"{self.kind:{len(INDENT)}}{self.trial.label}: {self.trial.rule.statement}"
        return "\n".join([line, *(INDENT + text for text in details)])


@attrs.frozen
class Report:
    """The outcomes of a check, in the order of the trials, and the processor time that it took."""

    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The outcomes of broken rules."""
        return tuple(outcome for outcome in self.outcomes if outcome.kind == "broken")

    def summary(self) -> str:
        """Return the counts in one line, as in ``14 kept, 2 broken, 3 not tried because B0 is broken``."""
        kinds = Counter(outcome.kind for outcome in self.outcomes)
        reasons = Counter(short(outcome.reason) for outcome in self.outcomes if outcome.reason)
        counts = [f"{kinds['kept']} kept", f"{kinds['broken']} broken"]
        return ", ".join(counts + [f"{n} not tried because {reason}" for reason, n in reasons.items()])


def short(reason: str) -> str:
    """Return why a rule was not tried, without what an author should do about it: up to a semicolon."""
    return reason.partition(";")[0]


def run(trials: Iterable[Trial], show: Callable[[Outcome], None] = lambda _: None) -> Report:
    """Run all trials in order and return the report; ``show`` is called with each outcome.

    A trial is left out if its rule cannot be tried on its case, if a rule that it comes after is broken or
    was left out for that reason, and if a gate was broken before it.
    """
    start = time.process_time()
    outcomes: list[Outcome] = []
    broken: set[tuple[str, str]] = set()  # (case, rule) pairs, with those that follow from them
    closed = ""
    for trial in trials:
        case = str(trial.case)
        cause = next((id for id in trial.rule.after if (case, id) in broken), None)
        reason = closed or (f"{cause} is broken" if cause else trial.obstacle)
        outcome = Outcome(trial, reason=reason) if reason else _outcome(trial)
        if outcome.error or cause:
            broken.add((case, trial.rule.id))
        if outcome.error and trial.rule.gate:
            closed = f"{trial.rule.id} is broken"
        outcomes.append(outcome)
        if not closed or outcome.error:
            show(outcome)
    return Report(tuple(outcomes), time.process_time() - start)


def _outcome(trial: Trial) -> Outcome:
    try:
        trial()
    except RuleBroken as error:
        return Outcome(trial, error)
    return Outcome(trial)
