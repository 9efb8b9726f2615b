"""The blocks that mutants derive from keep every rule."""

from typing import Any

import pytest
from blocks.testing.attention import Attention
from blocks.testing.recurrence import ChunkedRecurrence, Recurrence

from ultra_blocks.testing import RULES, Case, block_cases, pytest_params

TRIED = [
    id for id, rule in RULES.items() if rule.least != "thorough" and id != "B11"
]  # 2048 tokens are slow here


@pytest.mark.parametrize(
    ("case", "rule"), pytest_params(block_cases([Attention, Recurrence, ChunkedRecurrence]), TRIED)
)
def test_a_block_without_a_fault_keeps_every_rule(case: Case, rule: Any) -> None:
    rule(case)
