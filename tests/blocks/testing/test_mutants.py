"""The kit finds the fault of every mutant, by the rule that the table names, and none in a sound block."""

from typing import Any

import pytest
from blocks.testing.sound import Sound
from blocks.testing.table import MUTANTS, case_of

from ultra_blocks.testing import RULES, Case, RuleBroken, block_cases, pytest_params
from ultra_blocks.testing.kit import rules_of

# B11 takes rows of 1024 tokens, for which scores of all pairs are slow
SOUND = pytest_params(
    block_cases([Sound]), [rule for rule in RULES if RULES[rule].least != "thorough" and rule != "B11"]
)


@pytest.mark.parametrize("row", MUTANTS, ids=lambda row: f"{row[0]}-{row[1].__name__}")
def test_every_fault_is_found(row: Any) -> None:
    rule, cls, *fields = row
    case = case_of(cls, **(fields[0] if fields else {}))
    with pytest.raises(RuleBroken, match=f"breaks rule {rule}: "):
        rules_of(case).named(rule)(case)


@pytest.mark.parametrize(("case", "rule"), SOUND)
def test_the_block_without_a_fault_keeps_every_rule(case: Case, rule: Any) -> None:
    rule(case)
