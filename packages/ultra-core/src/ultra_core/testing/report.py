"""Running all trials, also after errors, and the report of their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from ultra_core.errors import listed
from ultra_core.testing.trials import Trial


@attrs.frozen
class Outcome:
    """The outcome of a trial: ``error`` is the exception that was raised, None if the rule holds."""

    trial: Trial
    error: Exception | None = None

    def __str__(self) -> str:
        label = f"{self.trial.label}: {self.trial.rule.statement}"
        if self.error is None:
            return f"kept    {label}"
        return f"broken  {label}\n        {type(self.error).__name__}: {self.error}"


@attrs.frozen
class Report:
    """The outcomes of a check, in the order of the trials."""

    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The outcomes of broken rules."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    def summary(self, name: str) -> str:
        """Return the result for the plugin of this name in one line."""
        labels = [outcome.trial.label for outcome in self.broken]
        return f"{name} breaks {listed(labels)}" if labels else f"{name} keeps every rule"


def run(trials: Iterable[Trial], show: Callable[[Outcome], None] = lambda _: None) -> Report:
    """Run all trials and return the report; ``show`` is called with each outcome."""
    outcomes = []
    for trial in trials:
        outcomes.append(_outcome(trial))
        show(outcomes[-1])
    return Report(tuple(outcomes))


def _outcome(trial: Trial) -> Outcome:
    try:
        trial()
    except Exception as error:  # whatever a plugin raises, it is what its author wants to see
        return Outcome(trial, error)
    return Outcome(trial)
