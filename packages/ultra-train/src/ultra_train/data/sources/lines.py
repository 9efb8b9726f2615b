"""The lines of a file, the JSON objects on them, and the rows of tables; gzipped files are unpacked.

Every fault is a ``DataError`` that names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from ultra_train.data.errors import DataError
from ultra_train.data.sources.place import Place

_LONGEST_LINE = 2**28
"""Bytes; a whole line is held in memory."""


def open_stream(path: Path) -> IO[bytes]:
    """Open a file, unpacked if its name ends in ``.gz``."""
    return cast("IO[bytes]", gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def read_lines(path: Path, place: Place) -> Iterator[tuple[int, str, DataError | None]]:
    """Yield for every line (number from 1, line without its end, what is wrong with it or None)."""
    with open_stream(path) as stream:
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
        f"{where}: holds a zero byte, so this is a binary file, not text; UTF-16 text must be converted to "
        "UTF-8 first."
    )


def json_object(line: str, where: str, column: str) -> dict[str, Any]:
    """Return the JSON object on a line.

    Args:
        line: the line.
        where: file and line, for the error message.
        column: a column, for the example in the error message.

    Raises:
        DataError: the line holds something else.
    """
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
    return row


def read_header(rows: Iterator[tuple[int, list[str], DataError | None]]) -> tuple[list[str], int]:
    """Return the header of a table and its line; lines before it may be blank."""
    begin, header = 1, list[str]()
    for begin, header, fault in rows:  # noqa: B007
        if fault is not None:
            raise fault
        if header:
            break
    return header, begin


def wrong_number_of_fields(where: str, row: Sequence[str], header: Sequence[str]) -> DataError:
    """Return the error of a row that does not fit its header."""
    hint = ' Put a text that holds the delimiter in "quotes".' if len(row) > len(header) else ""
    return DataError(f"{where}: has {len(row)} fields, but the header has {len(header)}.{hint}")


def table_rows(path: Path, delimiter: str, place: Place) -> Iterator[tuple[int, list[str], DataError | None]]:
    """Yield for every row of a table (first line, fields, what is wrong with it or None)."""
    faults: list[DataError] = []

    def lines() -> Iterator[str]:
        for _, line, fault in read_lines(path, place):
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
