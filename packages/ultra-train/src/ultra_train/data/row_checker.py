"""What the checks of every kind of rows share: texts, numbers, and rows that are left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ultra_core.errors import listed
from ultra_train.data.errors import DataError

_MOST_DROPPED = 0.5
"""Share of the rows; more dropped ones mean that the columns are not what they are taken for."""


class RowChecker:
    """Counts the rows of a data set, and those that cannot be used.

    Args:
        source: the data set as the preset names it.
        needed: the columns of its kind, as presets call them.

    Attributes:
        rows: rows that were checked.
        dropped: how many rows were dropped, by reason.
        examples: the first row that was dropped, by reason.
    """

    def __init__(self, source: str, needed: Sequence[str]) -> None:
        self.source, self.needed = source, tuple(needed)
        self.rows = 0
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def drop(self, reason: str, where: str) -> None:
        """Count a row that cannot be used."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)

    def finish(self) -> str | None:
        """Check the data set as a whole, and return a line about the rows that were dropped, if any.

        Raises:
            DataError: it has no rows, or most of them were dropped.
        """
        if not self.rows:
            raise DataError(f"{self.source}: has no rows.")
        dropped = sum(self.dropped.values())
        if dropped > _MOST_DROPPED * self.rows:
            raise DataError(
                f"{self.source}: {dropped:,} of {self.rows:,} rows cannot be used ({self.reasons()}). Name "
                f"the columns that hold {listed(self.needed)} with columns: {{...}}."
            )
        return f"{self.source}: rows left out: {self.reasons()}" if dropped else None

    def reasons(self) -> str:
        """Return why rows were dropped, with the first example of each reason."""
        return "; ".join(
            f"{count:,} {reason}, the first at {self.examples[reason]}"
            for reason, count in self.dropped.most_common()
        )


def text_of(value: object, where: str, column: str) -> str:
    """Return a text; an empty one for no value or blanks.

    Raises:
        DataError: the value is no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: column {column!r} holds {type(value).__name__}, but a text is needed.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: column {column!r} holds half a surrogate pair, which is not a text."
            ) from error
    return value if value.strip() else ""


def number_of(value: object, where: str, column: str, what: str) -> float | None:
    """Return a number, also one that is written as a text; None for no value.

    Args:
        value: what the column holds.
        where: place of the row, for messages.
        column: name of the column.
        what: what the number is, for messages.

    Raises:
        DataError: the value is no finite number.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DataError(f"{where}: column {column!r} holds {value!r}, but {what} must be a finite number.")
    return number
