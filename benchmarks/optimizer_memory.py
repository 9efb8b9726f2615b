"""Whether the state of an optimizer has the size that its docstring states."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from optimizer_sides import Side

from ultra_core import optimizers
from ultra_core.plugins.source_files import docstring
from ultra_optim.contract.facts import facts
from ultra_optim.contract.traits import MATRIX_KINDS
from ultra_optim.families.matrices import matrices_in

TOLERANCE = 0.01
"""Relative difference that is allowed, for counters and the scales of 8-bit blocks."""


def formula(name: str) -> str:
    """Return the size of the state of a matrix as its docstring states it: ``2n``, ``n + rows``."""
    return facts(docstring(optimizers.entry(name))).state


def value_of(text: str, rows: int, columns: int, rank: int) -> float:
    """Return the value of a formula such as ``2n + rank longer`` for a matrix."""
    sizes = {
        "n": rows * columns, "rows": rows, "columns": columns, "rank": rank,
        "longer": max(rows, columns), "shorter": min(rows, columns),
    }  # fmt: skip
    return sum(_term(term, sizes) for term in text.split("+"))


def _term(term: str, sizes: dict[str, int]) -> float:
    value = 1.0
    for factor in re.findall(r"\d+(?:\.\d+)?|[a-z]+(?:\^2)?", term):
        name, _, square = factor.partition("^")
        value *= float(factor) if factor[0].isdigit() else sizes[name] ** (2 if square else 1)
    return value


def logical(side: Side) -> Iterator[tuple[object, list[tuple[int, int, int]]]]:
    """Yield the hidden matrices with the (batch, rows, columns) of the matrices that the method treats."""
    optimizer = side.optimizer
    for group in optimizer.param_groups:
        if group.get("kind") not in MATRIX_KINDS:
            continue
        blocks = group.get("row_blocks") or [[] for _ in group["params"]]
        for p, rows in zip(group["params"], blocks, strict=True):
            pieces = matrices_in(p, rows)
            split = getattr(optimizer, "split_blocks", None)
            yield p, [tuple(c.shape) for m in pieces for c in (split(group, m) if split else [m])]


def as_declared(name: str, side: Side) -> bool:
    """Whether the state of every hidden matrix has the declared size, in numbers of four bytes."""
    text, found = formula(name), True
    for p, shapes in logical(side):
        rank = next((g.get("rank", 1) for g in side.optimizer.param_groups), 1)
        expected = sum(batch * value_of(text, rows, columns, rank) for batch, rows, columns in shapes)
        found &= math.isclose(side.state_bytes(p) / 4, expected, rel_tol=TOLERANCE)
    return found
