"""The error of everything that reads, writes or plans data."""

from collections.abc import Sequence

from ultra_core.errors import UltraError, did_you_mean, listed

_MOST, _LONGEST = 20, 60  # columns, characters of a name


class DataError(UltraError):
    """Data that cannot be used: says which file or source, where in it, what is wrong and what to do."""


def place_of_column(where: str, column: str, found: Sequence[str]) -> int:
    """Return the place of the wanted column of a table.

    Raises:
        DataError: There is none, or more than one.
    """
    if column not in found:
        raise missing_column(where, column, found)
    if (times := list(found).count(column)) > 1:
        raise DataError(f"{where}: has {times} columns {column!r}; rename all but one.")
    return found.index(column)


def missing_column(where: str, column: str, found: Sequence[str]) -> DataError:
    """The error of a table without the wanted column: names the columns that it has."""
    names = [repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...") for name in found[:_MOST]]
    more = f" and {len(found) - _MOST:,} more" if len(found) > _MOST else ""
    return DataError(
        f"{where}: has no column {column!r}; its columns are {listed(names)}{more}."
        f"{did_you_mean(column, found)} Say which one holds the text with `column:`."
    )
