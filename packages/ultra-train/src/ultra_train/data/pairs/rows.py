"""The rows of a source of pairs, with the splits that its files or the hub give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from ultra_core.errors import listed
from ultra_train.data import es_commands
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.beir import beir_rows, is_beir
from ultra_train.data.pairs.commands import command_rows
from ultra_train.data.pairs.split_names import Split, split_of_file, split_of_name
from ultra_train.data.sources import hub
from ultra_train.data.sources.embedded import is_embedded, language_of
from ultra_train.data.sources.files import find_files
from ultra_train.data.sources.rows import ROW_SUFFIXES, Row, read_rows
from ultra_train.system.files import expand_user

CommandRows = Callable[[Sequence[es_commands.Sentence], Any], Iterator[tuple[Split, Row]]]
"""Makes rows of a kind, each with its split, from commands."""
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
    """The rows of a source.

    Attributes:
        identity: sources with equal identities have equal rows.
        rows: yields the rows, and raises a ``DataError`` for a broken file.
        labels: column -> the names of its classes by their number, where the data set has names.
        splits: the splits of its files, or on the hub.
    """

    identity: Mapping[str, Any]
    rows: Callable[[], Iterator[PlacedRow]]
    labels: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    splits: frozenset[Split | None] = frozenset()


def open_rows(
    source: str,
    kind: str,
    name: str | None = None,
    cache_dir: str | Path | None = None,
    *,
    commands: CommandRows = command_rows,
) -> RowSource:
    """Return the rows of files, folders, globs, an embedded data set, or a data set of the hub.

    Args:
        source: file, folder, glob, or name of a data set.
        kind: what the rows shall be; embedded data have rows of any kind.
        name: configuration of a data set of the hub.
        cache_dir: folder that caches embedded data sets; None builds them in memory.
        commands: makes the rows of a kind from the commands of an embedded data set.

    Raises:
        DataError: the source does not exist, has no file with columns, or cannot be loaded.
    """
    if is_embedded(source):
        return _embedded(source, kind, cache_dir, commands)
    found = find_files(source, suffixes=ROW_SUFFIXES)
    if found is not None:
        return _in_files(source, [path for path in found.texts if path.name not in _NO_DATA])
    return open_hub(source, name)


def _embedded(source: str, kind: str, cache_dir: str | Path | None, commands: CommandRows) -> RowSource:
    language = language_of(source)

    def rows() -> Iterator[PlacedRow]:
        sentences = es_commands.sentences(language, cache_dir=cache_dir)
        for number, (split, row) in enumerate(commands(sentences, kind), 1):
            yield PlacedRow(f"{source}: {kind} {number}", row, split)

    return RowSource({"source": source, "versions": es_commands.versions(language)}, rows)


def _in_files(source: str, paths: Sequence[Path]) -> RowSource:
    splits = {path: split_of_file(path, expand_user(source)) for path in paths}

    def rows() -> Iterator[PlacedRow]:
        if is_beir(paths):
            yield from (PlacedRow(*row) for row in beir_rows(paths))
            return
        for path, split in splits.items():
            for where, row in read_rows(path):
                yield PlacedRow(where, row, split)

    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return RowSource({"source": source, "files": files}, rows, splits=frozenset(splits.values()))


def open_hub(
    source: str, name: str | None = None, *, data_dir: str | None = None, revision: str | None = None
) -> RowSource:
    """Return the rows of a data set of the hub.

    Args:
        source: its name.
        name: its configuration.
        data_dir: the folder of its repository that is read.
        revision: the revision of its repository.

    Raises:
        DataError: it cannot be loaded, or has splits with other names than train, dev and test.
    """
    tables = hub.load_splits(source, name, data_dir, revision)
    splits = {theirs: split_of_name(theirs) for theirs in tables}
    if len(tables) == 1 and None in splits.values():
        splits = dict.fromkeys(tables, "train")
    if unknown := [theirs for theirs, split in splits.items() if split is None]:
        raise DataError(
            f"{source}: has the splits {listed(list(tables))}, of which {listed(unknown)} are none of train, "
            "dev and test; save the ones that you want as files such as train.parquet, and give their folder."
        )
    labels: dict[str, Sequence[str]] = {}
    for table in tables.values():
        classes = {column: _class_names(feature) for column, feature in table.features.items()}
        labels |= {column: names for column, names in classes.items() if names}

    def rows() -> Iterator[PlacedRow]:
        for theirs, table in tables.items():
            for where, row in _hub_rows(f"{source}: {theirs}", table):
                yield PlacedRow(where, row, splits[theirs])

    fingerprints = {theirs: table._fingerprint for theirs, table in tables.items()}
    identity = {"source": source, "name": name, "splits": fingerprints}
    return RowSource(identity, rows, labels, frozenset(splits.values()))


def _class_names(feature: Any) -> Sequence[str] | None:
    """Return the names of the classes of a column, or of the items of its lists."""
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _hub_rows(table_name: str, table: Any) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa

    arrow = table.with_format("arrow")
    for begin in range(0, len(table), _ROWS_AT_ONCE):
        try:
            rows = arrow[begin : begin + _ROWS_AT_ONCE].to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{table_name}, rows from {begin + 1} on: the copy on this machine is damaged ({error}); "
                "remove it from the cache of datasets, so that it is fetched again."
            ) from error
        for number, row in enumerate(rows, begin + 1):
            yield f"{table_name}, row {number}", row
