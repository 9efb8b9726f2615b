"""The line of facts in every docstring is true, and is read."""

import re

import pytest
import torch
from torch import Tensor

from ultra_core import optimizers
from ultra_core.plugins.source_files import docstring
from ultra_optim.contract.facts import Facts, facts
from ultra_optim.testing.subject import Bag, Subject, drive, gradients

ROWS, COLUMNS, RANK = 64, 80, 8


def value_of(formula: str) -> float:
    """What a formula such as ``2n + rank longer`` gives for the matrix of these tests."""
    sizes = {"n": ROWS * COLUMNS, "rows": ROWS, "columns": COLUMNS, "longer": 80, "shorter": 64, "rank": RANK}
    product = re.sub(r"(?<=[\w.])\s+(?=[a-z])|(?<=\d)(?=[a-z])", " * ", formula).replace("^", "**")
    return float(eval(product, {"__builtins__": {}}, sizes))


def bytes_of(state: dict) -> int:
    return sum(v.numel() * v.element_size() for v in state.values() if isinstance(v, Tensor) and v.ndim)


def test_formulas_are_read() -> None:
    assert value_of("2n + 3 rows^2") == 2 * 5120 + 3 * 64**2
    assert value_of("0.5 rank longer + 1") == 0.5 * 8 * 80 + 1


@pytest.mark.parametrize("name", optimizers.names())
def test_the_docstring_says_what_is_kept_and_for_what(name: str) -> None:
    said = facts(docstring(optimizers.entry(name)))
    subject = Subject(name, optimizers.get(name))
    bag = Bag([torch.randn(ROWS, COLUMNS), torch.randn(9)])
    optimizer = subject.build(bag, **({"rank": RANK} if subject.has("rank") else {}))
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 2))
    matrix, vector = (optimizer.state[p] for p in bag.tensors())
    assert value_of(said.state) == pytest.approx(bytes_of(matrix) / 4, rel=0.01)
    if numbers := subject.traits.state_per_element:
        assert said.state == ("n" if numbers == 1 else f"{numbers}n")
    by_adamw = "exp_avg_sq" in vector and "exp_avg_sq" not in matrix
    assert (said.treats == "matrices, AdamW the rest") == (by_adamw and subject.traits.matrix)
    if not by_adamw or not subject.traits.matrix:
        assert said.treats.startswith("everything")


@pytest.mark.parametrize("name", optimizers.names())
def test_the_paper_is_named(name: str) -> None:
    paper = facts(docstring(optimizers.entry(name))).paper
    assert bool(re.fullmatch(r"\d{4}\.\d{5}", paper)) == (name != "sgd_momentum")  # 1964 had no arXiv


def test_other_docstrings_give_nothing() -> None:
    assert facts("The state: unknown.") == Facts("", "", "")
    assert facts("X (A 2020, arXiv 2001.00001), after arXiv 1901.00001.").paper == "2001.00001"
