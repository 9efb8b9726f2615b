"""The warning of matrix optimizers about weights that look like output heads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

KEY = "possible_heads"
"""Key of a new group: the names of weights in it that look like heads, with the reason."""


def warn_of(found: Mapping[str, str], optimizer: str) -> None:
    """Warn once of each weight that looks like a head and is about to be treated as a hidden matrix."""
    for name, reason in found.items():
        warnings.warn(
            f"{optimizer} would orthogonalise {name!r}, which looks like an output head: {reason}. Pass "
            f"kinds={{{name!r}: 'head'}} to ultra_optim.create or param_groups, and AdamW updates it; "
            "'matrix' keeps it as it is",
            stacklevel=2,
        )
