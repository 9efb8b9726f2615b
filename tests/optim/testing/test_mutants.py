"""Optimizers with one fault each, one file for each kind of fault: the kit finds it by the rule of its row.

A file has a list ``MUTANTS`` of rows: the id of the rule, the class, and perhaps options of its constructor.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ultra_core.testing import RuleBroken
from ultra_optim.testing import check_optimizer

FILES = sorted(path.stem for path in (Path(__file__).parent / "mutants").glob("*.py"))
MUTANTS = [row for file in FILES for row in import_module(f"optim.testing.mutants.{file}").MUTANTS]


@pytest.mark.parametrize("row", MUTANTS, ids=lambda row: f"{row[0]}-{row[1].__name__}")
def test_every_fault_is_found(row: Any) -> None:
    rule, cls, *options = row
    with pytest.raises(RuleBroken, match=f"{cls.__name__} breaks rule {rule}: "):
        check_optimizer(cls, rule, *options)
