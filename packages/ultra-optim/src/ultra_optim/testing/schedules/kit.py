"""The schedules and rules to try, and functions that run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ultra_core import schedules
from ultra_core.testing import Effort, Trial
from ultra_core.testing import pytest_params as params_of
from ultra_optim.testing.schedules.cases import ScheduleCase
from ultra_optim.testing.schedules.rules import SCHEDULE_RULES


def schedule_cases(
    names: Iterable[Any] | None = None, *, options: Mapping[str, Any] | None = None
) -> Iterator[ScheduleCase]:
    """Yield schedules, by registered name or as factories."""
    for name in schedules.names() if names is None else names:
        factory = schedules.get(name) if isinstance(name, str) else name
        yield ScheduleCase(name if isinstance(name, str) else factory.__name__, factory, dict(options or {}))


def schedule_trials(
    cases: Iterable[ScheduleCase] | None = None,
    rules: Iterable[str] | None = None,
    effort: Effort | None = None,
) -> list[Trial]:
    """Return a trial for each schedule and each rule.

    Args:
        cases: the schedules under test; None: every registered one.
        rules: ids of the rules; None: all that the effort includes.
        effort: how thorough the trials are; None: what the environment says.
    """
    ids = None if rules is None else list(rules)
    pairs = [
        (case, rule)
        for case in (schedule_cases() if cases is None else cases)
        for rule in SCHEDULE_RULES.chosen(case, ids, effort)
    ]
    return [Trial(rule, case, f"{rule.id} {case}", effort) for case, rule in pairs]


def schedule_params(cases: Iterable[ScheduleCase] | None = None) -> list[Any]:
    """Return ``pytest.param(case, rule)`` for every schedule and every rule of schedules."""
    return params_of(schedule_trials(cases))
