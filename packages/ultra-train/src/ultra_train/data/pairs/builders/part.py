"""One data set of the hub among those that a builder puts together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import combine, text_hash, uniform
from ultra_train.data.pairs.rows import PlacedRow, RowSource, open_hub, open_rows
from ultra_train.data.pairs.split_names import SPLITS, Split
from ultra_train.data.sources.rows import Row

Shares = tuple[float, float, float]


def _every_row(row: Row) -> bool:
    return True


@attrs.frozen(kw_only=True)
class Part:
    """A data set of the hub, and what becomes of its rows.

    Attributes:
        hub: its name on the hub.
        folder: the folder that takes its place below a local source.
        columns: column of the kind -> its name in the data set.
        config: its configuration on the hub.
        data_dir: the folder of its repository that is read, where it has no configurations.
        revision: the revision of its repository.
        path: the folder that holds it, for data that are not on the hub.
        keeps: returns whether a row is used.
        divide: a split of the data set -> the shares of its rows that become train, dev and test. It applies
            where there are no rows of dev; rows without a split count as train.
    """

    hub: str
    folder: str
    columns: Mapping[str, str]
    config: str | None = None
    data_dir: str | None = None
    revision: str | None = None
    path: str | None = None
    keeps: Callable[[Row], bool] = _every_row
    divide: Mapping[Split, Shares] = attrs.field(factory=dict)

    def open(self, local: Path | None, *, alone: bool) -> RowSource:
        """Return its rows as they are.

        Args:
            local: the folder whose subfolder is read instead of the hub, or None.
            alone: whether there is no other part, so that the files may lie in ``local`` itself.

        Raises:
            DataError: it is not there, or cannot be loaded.
        """
        if self.path is not None:
            return open_rows(self.path, "pairs")
        if local is None:
            return open_hub(self.hub, self.config, data_dir=self.data_dir, revision=self.revision)
        below = local / self.folder
        return open_rows(str(local if alone and not below.exists() else below), "pairs")

    def rows(self, source: RowSource, seed: int) -> Iterator[PlacedRow]:
        """Yield its rows with the columns of the kind, each in a split.

        Raises:
            DataError: a column is missing.
        """
        divide = {} if "dev" in source.splits else self.divide
        first = next(iter(self.columns.values()))
        for where, row, own in source.rows():
            self._check_columns(where, row)
            if not self.keeps(row):
                continue
            split: Split = own or "train"
            if split in divide:
                split = _drawn(str(row[first]), divide[split], seed)
            yield PlacedRow(where, {name: row[theirs] for name, theirs in self.columns.items()}, split)

    def _check_columns(self, where: str, row: Row) -> None:
        for theirs in self.columns.values():
            if theirs not in row:
                raise DataError(
                    f"{where}: has no column {theirs!r}, which {self.hub} has; its columns are "
                    f"{listed(list(row)[:20])}."
                )


def open_parts(
    name: str, parts: Sequence[Part], local: Path | None, seed: int, options: Mapping[str, Any]
) -> RowSource:
    """Return the rows of all parts of a data set.

    Args:
        name: the data set as presets name it.
        parts: what it consists of.
        local: the folder that is read instead of the hub, or None.
        seed: seed of the division into splits.
        options: what the choice of rows depends on besides.

    Raises:
        DataError: parts are missing; all of them are named.
    """
    opened: list[tuple[Part, RowSource]] = []
    missing: list[str] = []
    for part in parts:
        try:
            opened.append((part, part.open(local, alone=len(parts) == 1)))
        except DataError as error:
            missing.append(f"{part.hub} ({error})")
    if missing:
        folders = dict.fromkeys(f"{part.folder}/" for part in parts)
        raise DataError(
            f"{name}: {len(missing)} of its {len(parts)} data sets cannot be read: {'; '.join(missing)} "
            f"Without a connection, give a folder with datasets.{name}.source, in which "
            f"{listed(list(folders))} hold files such as train.parquet or train.jsonl with the same columns."
        )

    def rows() -> Iterator[PlacedRow]:
        for part, source in opened:
            yield from part.rows(source, seed)

    about = [(part.columns, part.divide, source.identity) for part, source in opened]
    return RowSource({"builder": name, "seed": seed, "options": options, "parts": about}, rows)


def _drawn(text: str, shares: Shares, seed: int) -> Split:
    """Return a split for a text, which is the same for all rows with it."""
    drawn = float(uniform(combine(seed, text_hash(text)))[0])
    for split, share in zip(SPLITS, shares, strict=True):
        if drawn < share:
            return split
        drawn -= share
    return "train"
