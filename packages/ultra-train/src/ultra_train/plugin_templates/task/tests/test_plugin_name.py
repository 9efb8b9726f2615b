"""The task ``plugin_name`` keeps the rules of tasks, and does what it says."""

from pathlib import Path

import pytest
from ultra_core.errors import ConfigError
from ultra_core.testing import Rule
from ultra_train.config import load_any
from ultra_train.testing import TaskCase, pytest_params, task_cases

PRESET = Path(__file__).parents[1] / "plugin_name.yaml"


@pytest.mark.parametrize(("case", "rule"), pytest_params(task_cases(["plugin_name"])))
def test_it_keeps_the_rules_of_tasks(case: TaskCase, rule: Rule) -> None:
    rule(case)


def test_texts_that_are_longer_than_a_row_are_a_fault_of_the_preset() -> None:
    with pytest.raises(ConfigError, match="60 words"):
        load_any(str(PRESET), ("training.fewest_words=60",))
