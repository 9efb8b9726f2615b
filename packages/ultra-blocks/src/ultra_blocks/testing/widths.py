"""The width at which a plugin is tested: the smallest that its constructor accepts."""

from __future__ import annotations

from typing import TypeVar

import attrs
import torch

from ultra_blocks.testing.cases import Case

WIDTHS = (16, 32, 64, 128)

AnyCase = TypeVar("AnyCase", bound=Case)


def fitting(case: AnyCase, hidden_size: int | None = None) -> AnyCase:
    """Return the case with a given width, or with the first of ``WIDTHS`` that its constructor accepts.

    A constructor that refuses all of them is left to rule C1, at the first width.
    """
    if hidden_size is not None:
        return attrs.evolve(case, hidden_size=hidden_size)
    for width in WIDTHS:
        other = attrs.evolve(case, hidden_size=width)
        try:
            with torch.random.fork_rng(devices=[]):
                other.cls(**other.arguments())
        except Exception:
            continue  # rule C1 reports it
        return other
    return case
