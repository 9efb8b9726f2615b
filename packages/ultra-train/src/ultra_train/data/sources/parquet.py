"""Reading Parquet files, row group by row group; error messages count row groups and rows from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultra_train.data.errors import DataError, column_index
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 4096


def read_parquet(path: Path, column: str, checker: RowChecker, place: Place) -> Iterator[str]:
    """Yield the texts of one column; see ``readers.read_file``."""
    import pyarrow as pa

    with path.open("rb"):  # raises the error of a file that cannot be opened
        pass
    try:
        table = _opened(path, column)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not a whole Parquet file ({_first_line(error)}).") from error
    with table:
        begin = 0
        for group in range(table.num_row_groups):
            end = begin + table.metadata.row_group(group).num_rows
            if place.offset < end:
                skipped = place.offset - begin
                for row, text in _row_group(table, path, group, column, checker, skipped):
                    place.offset = begin + row
                    yield from text
                place.offset = end
            begin = end


def _opened(path: Path, column: str) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    schema = table.schema_arrow
    column_index(str(path), column, schema.names)
    if not _holds_text(kind := schema.field(column).type):
        raise DataError(f"{path}: column {column!r} holds {kind}, but a text is needed.")
    return table


def _holds_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    text = kind.value_type if types.is_dictionary(kind) else kind
    return str(text) in ("string", "large_string", "string_view", "null")


def _row_group(
    table: pq.ParquetFile, path: Path, group: int, column: str, checker: RowChecker, skipped: int
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield for every row after the first ``skipped`` ones (its number from 1, its text or nothing)."""
    import pyarrow as pa

    row = 0

    def where() -> str:
        return f"{path}: row group {group + 1}, row {row}"

    batches = table.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column])
    while True:
        try:
            batch = next(batches, None)
            if batch is not None and row + len(batch) <= skipped:
                row += len(batch)
                continue
            values = [] if batch is None else _values(batch.column(column))
        except (pa.ArrowException, OSError, KeyError) as error:
            row += 1
            damage = f"the rest of the row group cannot be read ({_first_line(error)})"
            checker.unreadable_texts(DataError(f"{where()}: {damage}; fetch the file again."))
            return
        if batch is None:
            return
        for value in values:
            row += 1
            if row <= skipped:
                continue
            if isinstance(value, UnicodeDecodeError):
                byte = f"byte 0x{value.object[value.start]:02x} at place {value.start + 1}"
                checker.bad(DataError(f"{where()}: column {column!r} is not UTF-8 ({byte})."))
            else:
                yield row, checker.text(value, where(), column)


def _values(array: pa.Array) -> list[Any]:
    """Return the texts of an array; a text that is not UTF-8 is replaced by its error."""
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        return [_value(item) for item in array]


def _value(item: pa.Scalar) -> Any:
    try:
        return item.as_py()
    except UnicodeDecodeError as error:
        return error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
