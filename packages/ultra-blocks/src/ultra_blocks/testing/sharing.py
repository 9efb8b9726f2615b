"""Work that several rules need on the same case is done once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ultra_blocks.testing.cases import BlockCase

T = TypeVar("T")


def once_a_case(compute: Callable[[BlockCase], T]) -> Callable[[BlockCase], T]:
    """Return a function of a case that keeps its result for the last case that it was called with."""
    kept: dict[Any, T] = {}

    @wraps(compute)
    def recall(case: BlockCase) -> T:
        key = (case.cls, str(case), case.hidden_size, repr(sorted(case.options.items())))
        if key not in kept:
            result = compute(case)
            kept.clear()
            kept[key] = result
        return kept[key]

    return recall
