"""How thorough a check is."""

from __future__ import annotations

import os
from typing import Literal, get_args

from ultra_core.errors import UltraError, listed

Effort = Literal["quick", "default", "thorough"]

EFFORTS: tuple[str, ...] = get_args(Effort)
"""The efforts, in order: each tries the rules of those before it, on more examples."""

VARIABLE = "ULTRA_KIT_EFFORT"
"""The environment variable that sets the effort where none is given."""

_SHARES = {"quick": 0.4, "default": 1.0, "thorough": 20.0}

FEWEST_EXAMPLES = 2


def current_effort() -> Effort:
    """Return the effort of the environment variable ``ULTRA_KIT_EFFORT``, or the default.

    Raises:
        UltraError: the variable is none of the efforts.
    """
    value = os.environ.get(VARIABLE, "default")
    if value not in EFFORTS:
        raise UltraError(f"{VARIABLE} is {value!r}; it must be one of {listed(list(EFFORTS))}")
    return value  # type: ignore[return-value]


def includes(effort: Effort, least: Effort) -> bool:
    """Whether a check of this effort tries rules that need at least the effort ``least``."""
    return EFFORTS.index(effort) >= EFFORTS.index(least)


def scaled(examples: int, effort: Effort) -> int:
    """Return the number of examples to draw where the default effort draws ``examples``."""
    return max(min(FEWEST_EXAMPLES, examples), round(examples * _SHARES[effort]))
