"""The hooks ``plugin_name`` keep the rules of hooks, and do what they say."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn
from ultra_core.testing import Rule
from ultra_train.testing import HookCase, hook_cases, pytest_params

from plugin_name.hooks import ultra_run_finished


@pytest.mark.parametrize(("case", "rule"), pytest_params(hook_cases(["plugin_name"])))
def test_they_keep_the_rules_of_hooks(case: HookCase, rule: Rule) -> None:
    rule(case)


def test_the_table_has_a_row_for_each_parameter(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    nn.init.constant_(model.weight, -0.5)
    nn.init.zeros_(model.bias)
    run = SimpleNamespace(path=tmp_path, model=model)
    ultra_run_finished(run)
    lines = (tmp_path / "weights.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["parameter,shape,root mean square", "weight,3x2,0.5", "bias,3,0"]
