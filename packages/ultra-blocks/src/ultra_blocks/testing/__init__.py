"""The conformance kit: rules for every block, norm, FFN and position code (extra ``[testing]``)."""

from ultra_blocks.testing.cases import BlockCase, Case, FFNCase, NormCase, PositionCase
from ultra_blocks.testing.construction import FFN_RULES, NORM_RULES, POSITION_RULES
from ultra_blocks.testing.kit import (
    RULES,
    block_cases,
    check,
    check_block,
    ffn_cases,
    norm_cases,
    position_cases,
    pytest_params,
    trials,
)
from ultra_core.testing import Rule, RuleBroken, Rules

__all__ = [
    "FFN_RULES",
    "NORM_RULES",
    "POSITION_RULES",
    "RULES",
    "BlockCase",
    "Case",
    "FFNCase",
    "NormCase",
    "PositionCase",
    "Rule",
    "RuleBroken",
    "Rules",
    "block_cases",
    "check",
    "check_block",
    "ffn_cases",
    "norm_cases",
    "position_cases",
    "pytest_params",
    "trials",
]
