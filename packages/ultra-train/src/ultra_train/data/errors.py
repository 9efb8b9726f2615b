"""The error of everything that reads, writes or orders data."""

from collections.abc import Sequence

from ultra_core.errors import UltraError, did_you_mean, listed

_MOST, _LONGEST = 20, 60  # columns, characters of a name


class DataError(UltraError):
    """Data that cannot be used; the message names the file or source, the place, the fault and a remedy."""


def column_index(where: str, column: str, found: Sequence[str]) -> int:
    """Return the index of a column of a table.

    Raises:
        DataError: there is no such column, or more than one.
    """
    if column not in found:
        raise missing_column(where, column, found)
    if (times := list(found).count(column)) > 1:
        raise DataError(f"{where}: has {times} columns {column!r}; rename all but one.")
    return found.index(column)


def missing_column(where: str, column: str, found: Sequence[str]) -> DataError:
    """Return the error for a table that lacks a column; it names the columns that there are."""
    names = [repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...") for name in found[:_MOST]]
    more = f" and {len(found) - _MOST:,} more" if len(found) > _MOST else ""
    return DataError(
        f"{where}: has no column {column!r}; its columns are {listed(names)}{more}."
        f"{did_you_mean(column, found)} Say which one holds the text with `column:`."
    )
