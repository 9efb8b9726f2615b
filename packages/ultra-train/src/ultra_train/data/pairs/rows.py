"""The rows of a source of pairs, with the splits that its files or the hub give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.split_names import Split, split_of_file, split_of_name
from ultra_train.data.sources import hub
from ultra_train.data.sources.files import find_files
from ultra_train.data.sources.rows import ROW_SUFFIXES, Row, read_rows
from ultra_train.system.files import expand_user

_ROWS_AT_ONCE = 1000
_NO_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""Files of the library ``datasets`` beside the rows."""


class PlacedRow(NamedTuple):
    """A row of a source.

    Attributes:
        where: its place, for error messages.
        row: its values by column.
        split: the split of its file or on the hub, or None.
    """

    where: str
    row: Row
    split: Split | None


@attrs.frozen
class RowSource:
    """The rows of a source, which are read each time they are asked for.

    Attributes:
        identity: sources with equal identities have equal rows.
        labels: the names of the classes of a column, by column, where the data set has them.
    """

    identity: dict[str, Any]
    _parts: Sequence[tuple[Any, Split | None]]
    labels: dict[str, Sequence[str]] = attrs.Factory(dict)

    def rows(self) -> Iterator[PlacedRow]:
        """Yield the rows.

        Raises:
            DataError: a file is broken, or holds no rows.
        """
        for part, split in self._parts:
            for where, row in read_rows(part) if isinstance(part, Path) else _hub_rows(*part):
                yield PlacedRow(where, row, split)


def open_rows(source: str, name: str | None = None) -> RowSource:
    """Return the rows of files, folders, globs, or a data set of the hub.

    Args:
        source: file, folder, glob, or name of a data set.
        name: configuration of a data set of the hub.

    Raises:
        DataError: the source does not exist, has no file with columns, or cannot be loaded.
    """
    found = find_files(source, suffixes=ROW_SUFFIXES)
    if found is not None:
        paths = [path for path in found.texts if path.name not in _NO_DATA]
        files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        parts = [(path, split_of_file(path, expand_user(source))) for path in paths]
        return RowSource({"source": source, "files": files}, parts)
    return _on_hub(source, name)


def _on_hub(source: str, name: str | None) -> RowSource:
    tables = hub.load_splits(source, name)
    named = {theirs: split_of_name(theirs) for theirs in tables}
    if len(tables) == 1 and None in named.values():
        named = dict.fromkeys(tables, "train")
    if unknown := [theirs for theirs, split in named.items() if split is None]:
        raise DataError(
            f"{source}: has the splits {listed(list(tables))}, of which {listed(unknown)} are none of train, "
            "dev and test; save the ones that you want as files such as train.parquet, and give their folder."
        )
    labels: dict[str, Sequence[str]] = {}
    for table in tables.values():
        labels |= {
            column: feature.names for column, feature in table.features.items() if hasattr(feature, "names")
        }
    identity = {
        "source": source,
        "name": name,
        "splits": {theirs: table._fingerprint for theirs, table in tables.items()},
    }
    parts = [((source, theirs, table), named[theirs]) for theirs, table in tables.items()]
    return RowSource(identity, parts, labels)


def _hub_rows(source: str, split: str, table: Any) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa

    arrow = table.with_format("arrow")
    for begin in range(0, len(table), _ROWS_AT_ONCE):
        try:
            rows = arrow[begin : begin + _ROWS_AT_ONCE].to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{source}: {split}, rows from {begin + 1} on: the copy on this machine is damaged "
                f"({error}); remove it from the cache of datasets, so that it is fetched again."
            ) from error
        for number, row in enumerate(rows, begin + 1):
            yield f"{source}: {split}, row {number}", row
