"""The conformance kit of what the trainer uses: tasks, hooks, model classes and presets.

::

    import pytest
    from ultra_train.testing import pytest_params, task_cases

    @pytest.mark.parametrize(("case", "rule"), pytest_params(task_cases(["my_task"])))
    def test_conformance(case, rule):
        rule(case)
"""

from ultra_train.testing.cases import Case, HookCase, ModelCase, PresetCase, TaskCase
from ultra_train.testing.kit import (
    RULES,
    hook_cases,
    model_cases,
    preset_cases,
    pytest_params,
    task_cases,
    trials,
)

__all__ = [
    "RULES",
    "Case",
    "HookCase",
    "ModelCase",
    "PresetCase",
    "TaskCase",
    "hook_cases",
    "model_cases",
    "preset_cases",
    "pytest_params",
    "task_cases",
    "trials",
]
