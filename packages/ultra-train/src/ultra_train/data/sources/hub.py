"""Data sets of the Hugging Face hub, copied to this machine by the library ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ultra_train.data.errors import DataError, missing_column
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker

_ROWS_AT_ONCE = 1000


def texts(
    dataset: str,
    name: str | None,
    split: str,
    column: str,
    checker: RowChecker | None = None,
    place: Place | None = None,
) -> Iterator[str]:
    """Yield the texts of one column of a data set.

    Args:
        dataset: name on the hub, such as ``owner/name``.
        name: configuration, or None for the default one.
        split: the split, such as ``train`` or ``train[:1%]``.
        column: the column that holds the text.
        checker: counts the rows and decides about bad ones; without it, a bad row is an error.
        place: where reading begins; it is moved behind each row before its text is yielded.

    Raises:
        DataError: the data set cannot be loaded, or lacks the column.
    """
    checker, place = checker or RowChecker(dataset), place or Place()
    table = _load(dataset, name, split)
    if column not in table.column_names:
        raise missing_column(dataset, column, table.column_names)
    for first, batch in _batches(table, dataset, column, checker, place.offset):
        for row, value in enumerate(batch, first + 1):
            place.offset = row
            yield from checker.text(value, f"{dataset}: row {row}", column)


def _batches(
    table: Any, dataset: str, column: str, checker: RowChecker, start: int
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the column in batches (number of rows before it, values).

    A batch that cannot be read (a damaged local copy) is a fault.
    """
    import pyarrow as pa

    chosen = table.select_columns([column])
    for begin in range(start, len(chosen), _ROWS_AT_ONCE):
        try:
            yield begin, chosen[begin : begin + _ROWS_AT_ONCE][column]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            rows = f"rows {begin + 1} to {min(begin + _ROWS_AT_ONCE, len(chosen))}"
            checker.unreadable_texts(
                DataError(
                    f"{dataset}: {rows}: the copy on this machine is damaged ({error}); remove it from the "
                    "cache of datasets, so that it is fetched again."
                )
            )


def fingerprint(dataset: str, name: str | None, split: str) -> str:
    """Return the fingerprint that ``datasets`` gives to the loaded data."""
    return str(_load(dataset, name, split)._fingerprint)


@lru_cache(maxsize=8)
def load_splits(
    dataset: str, name: str | None, data_dir: str | None = None, revision: str | None = None
) -> dict[str, Any]:
    """Return all splits of a data set by name.

    Args:
        dataset: name on the hub.
        name: configuration, or None for the default one.
        data_dir: the folder of its repository that is read, or None for all.
        revision: the revision of its repository, or None for the newest.

    Raises:
        DataError: the data set cannot be loaded.
    """
    import datasets

    try:
        return dict(datasets.load_dataset(dataset, name, data_dir=data_dir, revision=revision))
    except Exception as error:  # the hub client raises errors of many libraries
        raise cannot_be_loaded(dataset, "all", error) from error


@lru_cache(maxsize=8)
def _load(dataset: str, name: str | None, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(dataset, name, split=split)
    except Exception as error:  # the hub client raises errors of many libraries
        raise cannot_be_loaded(dataset, split, error) from error


def cannot_be_loaded(dataset: str, split: str, error: Exception) -> DataError:
    """Return the error of a data set that cannot be loaded, for the error of the library."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(
        f"{dataset}: there is no file or folder of this name, and as a data set of the Hugging Face hub "
        f"it cannot be loaded ({type(error).__name__}: {reason}). Check the name, its configuration "
        f"(`name:`), the split ({split!r}) and the connection; without one, give a file, a folder or "
        "ultra:es-commands."
    )
