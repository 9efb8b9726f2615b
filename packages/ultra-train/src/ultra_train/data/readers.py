"""Readers of single files: one generator of texts a format, chosen by the file's suffix.

A line of a text file is a document; a row of the other formats is one. Rows without text (empty, blank, null)
are left out. Every fault is a `DataError` that names the file and, where there is one, the line.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError

_SNIFFED_BYTES = 8192


def read_file(path: Path, column: str = "text") -> Iterator[str]:
    """Yield the texts of one file.

    Args:
        path: A file whose name ends in one of `SUFFIXES`.
        column: The column that holds the text, where the format has columns.

    Raises:
        DataError: The file is missing, unreadable, binary, not UTF-8, broken, or lacks the column.
    """
    reader = READERS[suffix(path)]
    try:
        yield from reader(path, column)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{path}: the compressed file is broken or cut short ({error}); fetch it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def suffix(path: Path) -> str:
    """Return the part of the name that says the format, such as ``.jsonl.gz``; ``""`` when unknown."""
    name = path.name.lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), "")


def _is_binary(path: Path) -> bool:
    with _stream(path) as stream:
        return b"\0" in stream.read(_SNIFFED_BYTES)


def _stream(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end)."""
    if _is_binary(path):
        raise DataError(
            f"{path}: is a binary file (it holds a zero byte), not text. "
            f"Texts are read from {listed(SUFFIXES)}; UTF-16 text must be converted to UTF-8 first."
        )
    with _stream(path) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
                raise DataError(
                    f"{path}:{number}: is not UTF-8 ({byte}). "
                    "Convert the file, for example with: iconv -f latin1 -t utf-8"
                ) from error
            if "\0" in line:
                raise DataError(f"{path}:{number}: holds a zero byte, so it is not a text file.")
            yield number, line.rstrip("\r\n")


def _text(path: Path, column: str) -> Iterator[str]:
    for _, line in _lines(path):
        if line.strip():
            yield line


def _json_lines(path: Path, column: str) -> Iterator[str]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: is not JSON ({error.msg} at column {error.colno}).") from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{number}: holds a JSON {type(row).__name__}, but every line must be an object "
                f'such as {{"{column}": "..."}}.'
            )
        if column not in row:
            raise missing_column(f"{path}:{number}", column, list(row))
        yield from usable(row[column], f"{path}:{number}", column)


def _delimited(path: Path, column: str) -> Iterator[str]:
    delimiter = "\t" if suffix(path).startswith(".tsv") else ","
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader((line + "\n" for _, line in _lines(path)), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            raise missing_column(str(path), column, header)
        index = header.index(column)
        for row in rows:
            if row and index >= len(row):
                raise DataError(
                    f"{path}:{rows.line_num}: has {len(row)} fields, but the header has {len(header)}."
                )
            if row:
                yield from usable(row[index], f"{path}:{rows.line_num}", column)
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: is not a valid table ({error}).") from error


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as table:
            if column not in table.schema_arrow.names:
                raise missing_column(str(path), column, table.schema_arrow.names)
            row = 0
            for batch in table.iter_batches(batch_size=4096, columns=[column]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield from usable(value, f"{path}: row {row}", column)
    except pa.ArrowException as error:
        raise DataError(f"{path}: is not a whole Parquet file ({error}).") from error


def usable(value: object, where: str, column: str) -> Sequence[str]:
    """Return ``[value]``, or ``[]`` for a null or blank text; anything that is no text is a fault."""
    if value is None:
        return []
    if not isinstance(value, str):
        raise DataError(f"{where}: column {column!r} holds {type(value).__name__}, but a text is needed.")
    return [value] if value.strip() else []


def missing_column(where: str, column: str, found: Sequence[str]) -> DataError:
    """The error of a table without the wanted column: names the columns that it has."""
    return DataError(
        f"{where}: has no column {column!r}; its columns are {listed([repr(name) for name in found])}."
        f"{did_you_mean(column, found)} Say which one holds the text with `column:`."
    )


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _text,
    ".txt.gz": _text,
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".csv": _delimited,
    ".csv.gz": _delimited,
    ".tsv": _delimited,
    ".parquet": _parquet,
}
SUFFIXES = sorted(READERS, key=len, reverse=True)
