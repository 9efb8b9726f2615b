"""A rule together with a case, for a runner or for pytest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ultra_core.testing.efforts import Effort
from ultra_core.testing.rules import Rule


@attrs.frozen
class Trial:
    """One rule on one case; call it to check the rule.

    Attributes:
        rule: the rule.
        case: the plugin under test, in whatever form the kit gives it; its text is its name.
        label: what a report calls the trial.
        effort: how many examples are drawn; None: what the environment says.
    """

    rule: Rule
    case: Any
    label: str
    effort: Effort | None = None

    @property
    def obstacle(self) -> str:
        """Why the rule cannot be tried on this case; empty if it can."""
        return self.rule.unless(self.case)

    def __call__(self) -> None:
        """Check the rule on the case.

        Raises:
            RuleBroken: the case breaks the rule.
        """
        self.rule(self.case, self.effort)


def pytest_params(trials: Iterable[Trial]) -> list[Any]:
    """Return ``pytest.param(case, rule)`` for every trial; those that cannot be tried are skipped."""
    import pytest

    return [
        pytest.param(
            trial.case,
            trial.rule,
            id=f"{trial.case}-{trial.rule.id}".replace(" ", "-"),
            marks=[pytest.mark.skip(reason=trial.obstacle)] if trial.obstacle else [],
        )
        for trial in trials
    ]
