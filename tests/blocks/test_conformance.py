import pytest

from ultra_blocks.testing import Case, Rule, pytest_params


@pytest.mark.parametrize(("case", "rule"), pytest_params())
def test_every_registered_name_keeps_every_rule(case: Case, rule: Rule) -> None:
    rule(case)
