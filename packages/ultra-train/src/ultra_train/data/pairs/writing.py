"""Writing checked rows to Arrow files, divided into splits, with bounded memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_train.data.hashing import Hashes, text_hash
from ultra_train.data.pairs.checking import CheckedRow
from ultra_train.data.pairs.split_names import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 10_000


@attrs.frozen
class RawRows:
    """All rows of a data set in one file, and what decides about their splits.

    Attributes:
        path: the Arrow file.
        own_splits: the split that each row has of its own, as an index of ``SPLITS``, or -1, ``(rows,)``.
        groups: a hash of the first text of each row, ``(rows,)``.
    """

    path: Path
    own_splits: NDArray[np.int8]
    groups: Hashes


def write_raw(path: Path, rows: Iterable[CheckedRow], schema: Callable[[], pa.Schema]) -> RawRows:
    """Write rows to a file; memory holds some thousands of them, and nine bytes of each.

    Args:
        path: the file.
        rows: the rows.
        schema: returns the columns; it is called after the first row was read.
    """
    import pyarrow as pa

    splits, groups = array("b"), array("Q")
    rows = iter(rows)
    rows = chain([first] if (first := next(rows, None)) is not None else [], rows)
    columns = schema()
    batch: list[CheckedRow] = []
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, columns) as stream:
        for row in rows:
            splits.append(-1 if row.split is None else SPLITS.index(row.split))
            groups.append(text_hash(row.texts[0]))
            batch.append(row)
            if len(batch) == _ROWS_AT_ONCE:
                stream.write_batch(_record_batch(batch, columns))
                batch = []
        if batch:
            stream.write_batch(_record_batch(batch, columns))
    return RawRows(path, np.array(splits, np.int8), np.array(groups, np.uint64))


def write_splits(
    raw: RawRows, splits: NDArray[np.int8], folder: Path, change: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> tuple[dict[str, int], dict[str, str]]:
    """Write a file for each split that has rows, and return the rows and the fingerprint of each.

    The fingerprint depends on the columns and the rows alone, not on where they come from.

    Args:
        raw: all rows.
        splits: index of the split of each row in ``SPLITS``, ``(rows,)``.
        folder: where ``<split>.arrow`` is written.
        change: is applied to every batch of rows.
    """
    import pyarrow as pa

    counts: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for number, split in enumerate(SPLITS):
        if not (splits == number).any():
            continue
        digest = hashlib.sha256()
        with pa.memory_map(str(raw.path)) as source, pa.OSFile(str(folder / f"{split}.arrow"), "wb") as file:
            reader = pa.ipc.open_stream(source)
            digest.update(",".join(map(str, reader.schema)).encode())
            begin = 0
            with pa.ipc.new_stream(file, reader.schema) as stream:
                for batch in reader:
                    chosen = pa.array(splits[begin : begin + len(batch)] == number)
                    begin += len(batch)
                    kept = change(batch.filter(chosen))
                    stream.write_batch(kept)
                    for row in zip(*(column.to_pylist() for column in kept.columns), strict=True):
                        digest.update(repr(row).encode())
        counts[split], fingerprints[split] = int((splits == number).sum()), digest.hexdigest()[:16]
    return counts, fingerprints


def _record_batch(rows: Sequence[CheckedRow], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns: list[Any] = list(zip(*(row.texts for row in rows), strict=True))
    if len(columns) < len(schema):
        columns.append([row.target for row in rows])
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
