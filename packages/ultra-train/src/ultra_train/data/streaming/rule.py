"""Which corpora are streamed, by the size of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.files import find_files
from ultra_train.data.streaming.text_stream import Cursor

_COMPRESSED = {".gz": 3.0, ".parquet": 2.5}
"""Bytes of text in a byte of a compressed file, roughly, for prose."""


def text_bytes(sources: Sequence[DataSource]) -> int | None:
    """Return the bytes of text in the files of all sources, roughly; None when a source is not in files."""
    sizes = [_sizes(source) for source in sources]
    if any(size is None for size in sizes):
        return None
    return round(sum(sum(size) for size in sizes if size is not None))


def share_read(sources: Sequence[DataSource], cursor: Cursor) -> float:
    """Return the share of the text before a cursor: above 0, at most 1."""
    before = total = 0.0
    for number, source in enumerate(sources):
        sizes = _sizes(source) or []
        total += sum(sizes)
        if number < cursor.source:
            before += sum(sizes)
        elif number == cursor.source:
            before += sum(sizes[: cursor.file])
            found = find_files(source.source)
            if found is not None and cursor.file < len(found.texts):
                before += sizes[cursor.file] * _share_of_file(found.texts[cursor.file], cursor.offset)
    return min(1.0, max(before / total, 1e-6)) if total else 1.0


def _share_of_file(path: Path, offset: int) -> float:
    if path.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        return offset / max(1, pq.read_metadata(path).num_rows)
    return min(1.0, offset / _size(path))


def _sizes(source: DataSource) -> list[float] | None:
    if source.source.startswith("ultra:"):
        return []
    found = find_files(source.source)
    return None if found is None else [_size(path) for path in found.texts]


def _size(path: Path) -> float:
    return path.stat().st_size * _COMPRESSED.get(path.suffix, 1.0)
