"""The table of mutants: plugins with one fault each, one file for each kind of fault.

A file has a list ``MUTANTS`` of rows: the id of the rule, the class, and optionally fields of its case.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from ultra_blocks.ffn.base import FeedForward
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.norms.base import Norm
from ultra_blocks.positions import PositionCode
from ultra_blocks.testing import Case, block_cases, ffn_cases, norm_cases, position_cases

FILES = sorted(path.stem for path in (Path(__file__).parent / "mutants").glob("*.py"))
MUTANTS = [row for file in FILES for row in import_module(f"blocks.testing.mutants.{file}").MUTANTS]

CASES = [(Norm, norm_cases), (FeedForward, ffn_cases), (MoE, ffn_cases), (PositionCode, position_cases)]


def case_of(cls: type, **fields: Any) -> Case:
    """Return the case of a plugin, the kind of which is that of its base class."""
    make = next((cases for base, cases in CASES if issubclass(cls, base)), block_cases)
    return attrs.evolve(next(iter(make([cls]))), **fields)
