"""Reading the texts of a single file; the file's suffix decides the format.

Each line of a text file is a text, and each row of a file of another format. Rows without text (empty, blank,
null) are left out and counted. Every fault is a ``DataError`` that names the file and the line, or in a
Parquet file the row group and the row.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from ultra_core.errors import listed
from ultra_train.data.errors import DataError, column_index, missing_column
from ultra_train.data.sources.parquet import read_parquet
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker

_LONGEST_LINE = 2**28
"""Bytes; a whole line is held in memory."""


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


def suffix(path: Path) -> str:
    """Return the suffix that decides the format, such as ``.jsonl.gz``; ``""`` when it is unknown."""
    name = path.name.lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), "")


def _stream(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def _lines(path: Path, place: Place) -> Iterator[tuple[int, str, DataError | None]]:
    """Yield for every line (number from 1, line without its end, what is wrong with it or None)."""
    with _stream(path) as stream:
        read, moved = stream.readline, place.offset == 0
        while True:
            number = place.line + 1
            try:
                if not moved:
                    moved = stream.seek(place.offset) == place.offset
                raw = read(_LONGEST_LINE + 1)
                place.offset += len(raw)
                if len(raw) > _LONGEST_LINE:
                    while (rest := read(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                        place.offset += len(rest)
                    place.offset += len(rest)
            except (gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise DataError(
                    f"{path}:{number}: the compressed file is broken or cut short here ({error}); "
                    "fetch it again."
                ) from error
            except OSError as error:
                raise DataError(f"{path}:{number}: cannot be read ({error.strerror or error}).") from error
            if not raw:
                return
            place.line = number
            fault = None
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                line, fault = raw.decode(errors="replace"), _not_utf8(f"{path}:{number}", error)
            if "\0" in line:
                fault = fault or _binary(f"{path}:{number}")
            if len(raw) > _LONGEST_LINE:
                line = ""
                fault = DataError(f"{path}:{number}: is longer than {_LONGEST_LINE:,} bytes; break it up.")
            yield number, (line if number > 1 else line.removeprefix("\ufeff")).rstrip("\r\n"), fault


def _not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    byte = f"byte 0x{error.object[error.start]:02x} at column {error.start + 1}"
    likely = "utf-16" if error.object.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
    return DataError(
        f"{where}: is not UTF-8 ({byte}). Convert the file, for example with: iconv -f {likely} -t utf-8"
    )


def _binary(where: str) -> DataError:
    return DataError(
        f"{where}: holds a zero byte, so this is a binary file, not text. Text files end in "
        f"{listed(SUFFIXES)}; UTF-16 text must be converted to UTF-8 first."
    )


def _text(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    for number, line, fault in _lines(path, place):
        if fault is not None:
            checker.bad(fault)
        else:
            yield from checker.text(line, f"{path}:{number}", column)


def _json_lines(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    for number, line, fault in _lines(path, place):
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
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON ({error.msg} at column {error.colno}).") from error
    except RecursionError as error:
        raise DataError(f"{where}: is JSON that is nested too deeply to be read.") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise DataError(f"{where}: holds a number that is too long to be read ({error}).") from error
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: holds a JSON {type(row).__name__}, but every line must be an object "
            f'such as {{"{column}": "..."}}.'
        )
    if column not in row:
        raise missing_column(where, column, list(row))
    return row[column]


def _delimited(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    delimiter = "\t" if suffix(path).startswith(".tsv") else ","
    first = Place()
    header, index = _header(path, column, _table(path, delimiter, first))
    if place.offset < first.offset:
        place.offset, place.line = first.offset, first.line
    for number, row, fault in _table(path, delimiter, place):
        where = f"{path}:{number}"
        if fault is None and row and (index >= len(row) or any(row[len(header) :])):
            hint = ' Put a text that holds the delimiter in "quotes".' if len(row) > len(header) else ""
            fault = DataError(f"{where}: has {len(row)} fields, but the header has {len(header)}.{hint}")
        if fault is not None:
            checker.bad(fault)
        elif not row:
            checker.blank()
        else:
            yield from checker.text(row[index], where, column)


def _header(
    path: Path, column: str, rows: Iterator[tuple[int, list[str], DataError | None]]
) -> tuple[list[str], int]:
    """Return the header of a table and the index of a column in it; lines before it may be blank."""
    begin, header = 1, list[str]()
    for begin, header, fault in rows:  # noqa: B007
        if fault is not None:
            raise fault
        if header:
            break
    return header, column_index(f"{path}:{begin}", column, header)


def _table(path: Path, delimiter: str, place: Place) -> Iterator[tuple[int, list[str], DataError | None]]:
    """Yield for every row of a table (first line, fields, what is wrong with it or None)."""
    faults: list[DataError] = []

    def lines() -> Iterator[str]:
        for _, line, fault in _lines(path, place):
            if fault is not None:
                faults.append(fault)
            yield line + "\n"

    csv.field_size_limit(_LONGEST_LINE)
    rows, before = csv.reader(lines(), delimiter=delimiter, strict=True), place.line
    while True:
        begin = before + rows.line_num + 1
        row: list[str] = []
        faults.clear()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            last = before + rows.line_num
            extent = f"; the row extends to line {last}" if last > begin else ""
            faults.append(DataError(f"{path}:{begin}: is not a valid table ({error}{extent})."))
        yield begin, row, faults[0] if faults else None


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
