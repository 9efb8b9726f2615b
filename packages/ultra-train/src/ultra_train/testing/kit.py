"""The cases and rules of the kit, and functions that run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ultra_core.errors import UnknownNameError, did_you_mean, listed
from ultra_core.plugins.hooks import plugin_entries
from ultra_core.plugins.kinds import models, presets, tasks
from ultra_core.plugins.metadata import Entry
from ultra_core.plugins.registry import Registry
from ultra_core.testing import Effort, Rules, Trial
from ultra_core.testing import pytest_params as params_of
from ultra_train.testing import task_runs  # noqa: F401 - it adds rules
from ultra_train.testing.cases import Case, HookCase, ModelCase, PresetCase, TaskCase
from ultra_train.testing.hooks import HOOK_RULES
from ultra_train.testing.models import MODEL_RULES
from ultra_train.testing.presets import PRESET_RULES
from ultra_train.testing.tasks import TASK_RULES


def task_cases(names: Iterable[str] | None = None) -> Iterator[TaskCase]:
    """Yield tasks, by registered name; None: every registered one."""
    return map(TaskCase, _entries(tasks, names))


def model_cases(names: Iterable[str] | None = None) -> Iterator[ModelCase]:
    """Yield model classes, by registered name; None: every registered one."""
    return map(ModelCase, _entries(models, names))


def preset_cases(names: Iterable[str] | None = None) -> Iterator[PresetCase]:
    """Yield presets, by name; None: every installed one."""
    return map(PresetCase, _entries(presets, names))


def hook_cases(names: Iterable[str] | None = None) -> Iterator[HookCase]:
    """Yield hook plugins, by the names of their entry points; None: every installed one.

    Raises:
        UnknownNameError: there is no such hook plugin.
    """
    installed = {entry.name: entry for entry in plugin_entries()}
    for name in installed if names is None else names:
        if name not in installed:
            known = listed(list(installed))
            raise UnknownNameError(
                f"no hooks are called {name!r}.{did_you_mean(name, installed)} Installed: {known}"
            )
        yield HookCase(installed[name])


def _entries(registry: Registry, names: Iterable[str] | None) -> Iterator[Entry]:
    return map(registry.entry, registry.names() if names is None else names)


RULES: dict[type[Case], Rules] = {
    TaskCase: TASK_RULES,
    HookCase: HOOK_RULES,
    ModelCase: MODEL_RULES,
    PresetCase: PRESET_RULES,
}
"""The rules of each kind of plugin."""


def trials(
    cases: Iterable[Case], rules: Iterable[str] | None = None, effort: Effort | None = None
) -> list[Trial]:
    """Return a trial for each case and each rule of its kind.

    Args:
        cases: the plugins under test.
        rules: ids of the rules; None: all that the effort includes.
        effort: how thorough the trials are; None: what the environment says.
    """
    ids = None if rules is None else list(rules)
    pairs = [(case, rule) for case in cases for rule in RULES[type(case)].chosen(case, ids, effort)]
    return [Trial(rule, case, f"{rule.id} {case}", effort) for case, rule in pairs]


def pytest_params(cases: Iterable[Case]) -> list[Any]:
    """Return ``pytest.param(case, rule)`` for every case and every rule of its kind."""
    return params_of(trials(cases))
