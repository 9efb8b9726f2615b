"""What identifies the rows of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets

TARGETS = ("score", "label")
"""The columns that hold no text."""


def pairs_fingerprint(dataset: datasets.Dataset) -> str:
    """Return what identifies the rows: equal rows in an equal order have it, wherever their files lie."""
    return str(dataset._fingerprint)


def text_columns(dataset: datasets.Dataset) -> list[str]:
    """Return the columns of texts, in the order that losses expect."""
    return [name for name in dataset.column_names if name not in TARGETS]
