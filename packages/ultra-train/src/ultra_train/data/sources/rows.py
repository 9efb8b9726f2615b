"""Reading the rows of a single file in a format with columns; the file's suffix decides the format."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ultra_train.data.errors import DataError
from ultra_train.data.sources.json_array import is_json_array, json_array
from ultra_train.data.sources.lines import (
    json_object,
    open_stream,
    read_header,
    read_lines,
    table_rows,
    wrong_number_of_fields,
)
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.readers import suffix

Row = dict[str, Any]
_ROWS_AT_ONCE = 1000
_EXAMPLE = "text"


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield for every row of a file (file and line or row, its values by column); blank lines have none.

    Args:
        path: a file whose name ends in one of ``ROW_SUFFIXES``.

    Raises:
        DataError: the file is missing, unreadable, not UTF-8, broken, or a line of it is no row.
    """
    try:
        yield from _READERS[suffix(path, ROW_SUFFIXES).removesuffix(".gz")](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line, fault in read_lines(path, Place()):
        if fault is not None:
            raise fault
        if line.strip():
            where = f"{path}:{number}"
            yield where, json_object(line, where, _EXAMPLE)


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    if not is_json_array(path):
        yield from _json_lines(path)
        return
    for number, row in enumerate(json_array(path), 1):
        where = f"{path}: item {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: is a JSON {type(row).__name__}, but every item must be an object.")
        yield where, row


def _delimited(path: Path) -> Iterator[tuple[str, Row]]:
    rows = table_rows(path, "\t" if ".tsv" in path.name.lower() else ",", Place())
    header, _ = read_header(rows)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: has {header.count(twice)} columns {twice!r}; rename all but one.")
    for number, row, fault in rows:
        where = f"{path}:{number}"
        if fault is not None:
            raise fault
        if len(row) != len(header) and row:
            raise wrong_number_of_fields(where, row, header)
        if row:
            yield where, dict(zip(header, row, strict=True))


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.name.lower().endswith(".gz"):
        yield from _unpacked(path)
        return
    try:
        table = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        number = 0
        for batch in table.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: is not a whole Parquet file ({reason}); fetch it again.") from error


def _unpacked(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a gzipped Parquet file, which is read from the end and so unpacked first."""
    with tempfile.NamedTemporaryFile(prefix="ultra-", suffix=".parquet") as unpacked:
        try:
            with open_stream(path) as packed:
                shutil.copyfileobj(packed, unpacked)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path}: is broken or cut short ({error}); fetch it again.") from error
        unpacked.flush()
        for where, row in _parquet(Path(unpacked.name)):
            yield where.replace(unpacked.name, str(path)), row


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".parquet": _parquet,
}
ROW_SUFFIXES = sorted([*_READERS, *(f"{name}.gz" for name in _READERS)], key=len, reverse=True)
"""The endings of names of files with columns."""
