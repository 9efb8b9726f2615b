"""Reading the texts of a single file; the file's suffix decides the format.

Each line of a text file is a text, and each row of a file of another format. Rows without text (empty, blank,
null) are left out and counted. Every fault is a ``DataError`` that names the file and the line, or in a
Parquet file the row group and the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ultra_train.data.errors import DataError, column_index, missing_column
from ultra_train.data.sources.lines import (
    json_object,
    read_header,
    read_lines,
    table_rows,
    wrong_number_of_fields,
)
from ultra_train.data.sources.parquet import read_parquet
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker


def read_file(
    path: Path, column: str = "text", checker: RowChecker | None = None, place: Place | None = None
) -> Iterator[str]:
    """Yield the texts of one file.

    Args:
        path: a file whose name ends in one of ``SUFFIXES``.
        column: the column that holds the text, where the format has columns.
        checker: counts the rows and decides about bad ones; without it, a bad row is an error.
        place: where in the file reading begins; it is moved behind each row before its text is yielded.

    Raises:
        DataError: the file is missing, unreadable, binary, not UTF-8, broken, or lacks the column.
    """
    checker = checker or RowChecker(str(path))
    place = place or Place()
    checker.counts.files += place.offset == 0
    try:
        yield from READERS[suffix(path)](path, column, checker, place)
    except OSError as error:
        checker.unreadable_texts(DataError(f"{path}: cannot be read ({error.strerror or error})."))
    except DataError as fault:
        checker.unreadable_texts(fault)


def suffix(path: Path, known: Sequence[str] | None = None) -> str:
    """Return the suffix that decides the format, such as ``.jsonl.gz``; ``""`` when it is unknown.

    Args:
        path: the file.
        known: the suffixes to choose from, longer ones first; by default those of files of texts.
    """
    name = path.name.lower()
    return next((ending for ending in known or SUFFIXES if name.endswith(ending)), "")


def _text(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    for number, line, fault in read_lines(path, place):
        if fault is not None:
            checker.bad(fault)
        else:
            yield from checker.text(line, f"{path}:{number}", column)


def _json_lines(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    for number, line, fault in read_lines(path, place):
        where = f"{path}:{number}"
        value: object = None
        if fault is None and line.strip():
            try:
                value = _json_row(line, where, column)
            except DataError as error:
                fault = error
        if fault is not None:
            checker.bad(fault)
        else:
            yield from checker.text(value, where, column)


def _json_row(line: str, where: str, column: str) -> object:
    """Return the value that a JSON object on one line has in a column."""
    row = json_object(line, where, column)
    if column not in row:
        raise missing_column(where, column, list(row))
    return row[column]


def _delimited(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    delimiter = "\t" if suffix(path).startswith(".tsv") else ","
    first = Place()
    header, line = read_header(table_rows(path, delimiter, first))
    index = column_index(f"{path}:{line}", column, header)
    if place.offset < first.offset:
        place.offset, place.line = first.offset, first.line
    for number, row, fault in table_rows(path, delimiter, place):
        where = f"{path}:{number}"
        if fault is None and row and (index >= len(row) or any(row[len(header) :])):
            fault = wrong_number_of_fields(where, row, header)
        if fault is not None:
            checker.bad(fault)
        elif not row:
            checker.blank()
        else:
            yield from checker.text(row[index], where, column)


READERS: dict[str, Callable[[Path, str, RowChecker, Place], Iterator[str]]] = {
    ".txt": _text,
    ".txt.gz": _text,
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".csv": _delimited,
    ".csv.gz": _delimited,
    ".tsv": _delimited,
    ".parquet": read_parquet,
}
SUFFIXES = sorted(READERS, key=len, reverse=True)
