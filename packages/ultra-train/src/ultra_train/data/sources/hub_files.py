"""Data sets of the Hugging Face hub, read file by file over the network, without a copy on this machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ultra_train.data.errors import DataError, missing_column
from ultra_train.data.sources.hub import cannot_be_loaded
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import RowChecker

_REVISION = re.compile("@[^/]+/")
_ROWS_AT_ONCE = 1000
_TEXT = 1000
"""Bytes of a text, roughly, where a file does not say how many it holds."""


class HubFiles:
    """The files of a split; ``datasets`` reads one after the other as they are needed.

    A file is read in parts, which are the row groups of a Parquet file. In a ``Place``, ``line`` counts the
    parts of the file before it, and ``offset`` the rows of the part, so reading goes on without the parts
    before it.

    Args:
        dataset: name on the hub, such as ``owner/name``.
        name: configuration, or None for the default one.
        split: the split, such as ``train``.
        column: the column that holds the text; others are not fetched where the format allows that.

    Attributes:
        sizes: bytes of every file.
        fingerprint: identifies the content of the files; a commit that changes none of them keeps it.

    Raises:
        DataError: the data set cannot be reached, or has no such split.
    """

    def __init__(self, dataset: str, name: str | None, split: str, column: str) -> None:
        import datasets

        self._dataset, self._column = dataset, column
        try:
            builder = datasets.load_dataset_builder(dataset, name)
            rows = builder.as_streaming_dataset(split=split)
            if column in (rows.column_names or []) and hasattr(builder.config, "columns"):
                builder.config.columns = [column]
                rows = builder.as_streaming_dataset(split=split)
            self._rows, files = rows, (builder.config.data_files or {}).get(split, [])
            self.names = list(files) if len(files) == rows.num_shards else [""] * rows.num_shards
            entries = [_entry(file) for file in files]
        except Exception as error:  # the hub client raises errors of many libraries
            raise cannot_be_loaded(dataset, split, error) from error
        sizes = [size for _, size, _ in entries]
        total, count = sum(sizes), len(self.names)
        self.sizes = sizes if len(sizes) == count else [total / count] * count
        about = entries or [builder.hash]
        self.fingerprint = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        self._parts = lru_cache(maxsize=2)(self._split_file)

    def texts(self, checker: RowChecker, place: Place) -> Iterator[str]:
        """Yield the texts from a place on, which is moved behind each row before its text is yielded.

        Raises:
            DataError: the column is missing, or the connection is lost.
        """
        while place.file < len(self.names):
            checker.counts.files += place.line == place.offset == 0
            while place.line < self._parts(place.file).num_shards:
                for values in self._values(place, checker):
                    for value in values:
                        place.offset += 1
                        yield from checker.text(value, self._where(place), self._column)
                place.offset, place.line = 0, place.line + 1
            place.next_file()

    def share_of_file(self, place: Place) -> float:
        """Return the share of a file before a place, roughly."""
        parts = self._parts(place.file).num_shards
        part = max(1.0, self.sizes[place.file] / max(1, parts))
        return min(1.0, (place.line + min(1.0, place.offset * _TEXT / part)) / max(1, parts))

    def _split_file(self, number: int) -> Any:
        try:
            return self._rows.shard(len(self.names), number).reshard().with_format("arrow")
        except Exception as error:
            raise self._lost(Place(number), error) from error

    def _values(self, place: Place, checker: RowChecker) -> Iterator[list[Any]]:
        """Yield the column of the rest of a part in batches; the rest of a damaged part is a fault."""
        import pyarrow as pa

        parts = self._parts(place.file)
        part = parts.shard(parts.num_shards, place.line).skip(place.offset)
        tables = part.iter(batch_size=_ROWS_AT_ONCE)
        while True:
            try:
                table = next(tables, None)
                if table is not None and self._column not in table.column_names:
                    raise missing_column(self._where(place), self._column, table.column_names)
                values = [] if table is None else table[self._column].to_pylist()
            except DataError:
                raise
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                fault = f"{self._where(place)}: the file is damaged from here on ({_reason(error)})."
                checker.unreadable_texts(DataError(fault))
                return
            except Exception as error:  # the hub client raises errors of many libraries
                raise self._lost(place, error) from error
            if table is None:
                return
            yield values

    def _where(self, place: Place) -> str:
        name = self.names[place.file].rpartition("/")[2] or f"part {place.file + 1}"
        return f"{self._dataset}: {name}, row group {place.line + 1}, row {place.offset}"

    def _lost(self, place: Place, error: Exception) -> DataError:
        return DataError(
            f"{self._where(place)}: the hub stopped answering ({_reason(error)}). Continue the run with "
            "--resume when it answers again; what was tokenised is kept."
        )


@lru_cache(maxsize=64)
def hub_files(dataset: str, name: str | None, split: str, column: str) -> HubFiles:
    """Return the files of a split, which are asked for once."""
    return HubFiles(dataset, name, split, column)


def is_offline() -> bool:
    """Return whether this process may not ask the hub; only copies on this machine can be read then."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _entry(file: str) -> tuple[str, float, str]:
    """Return name, size and content of a file; the content as its hash, or as the time of its last change."""
    import fsspec

    system, path = fsspec.url_to_fs(file)
    about = system.info(path)
    content = next((about[name] for name in ("blob_id", "ETag", "mtime") if about.get(name)), file)
    return _REVISION.sub("/", file), float(about.get("size") or 0), str(content)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")
