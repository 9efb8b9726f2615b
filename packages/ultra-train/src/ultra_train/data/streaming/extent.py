"""How much text a source has, roughly, and which share of it lies before a place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.files import find_files
from ultra_train.data.sources.hub_files import HubFiles, is_offline
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.texts import files_on_hub

_COMPRESSED = {".gz": 3.0, ".zst": 3.0, ".parquet": 2.5}
"""Bytes of text in a byte of a compressed file, roughly, for prose."""

_SENTENCES, _SENTENCE = 50_000, 40
"""Texts of an embedded data set, and bytes of a text, roughly."""


class Extent:
    """The size of a source, which depends on the sizes of its files only.

    Args:
        source: the source.

    Attributes:
        bytes: bytes of its text, roughly.
        content: identifies the files of a data set of the hub; empty for others.

    Raises:
        DataError: the source does not exist.
    """

    def __init__(self, source: DataSource) -> None:
        self._files: Sequence[Path] = ()
        self._hub: HubFiles | None = None
        if source.source.startswith("ultra:"):
            self._sizes = [float(_SENTENCES * _SENTENCE)]
        elif (found := find_files(source.source)) is not None:
            self._files = found.texts
            self._sizes = [path.stat().st_size * _COMPRESSED.get(path.suffix, 1.0) for path in found.texts]
        else:
            self._hub = hub = files_on_hub(source)
            factors = (_COMPRESSED.get(Path(name).suffix, 1.0) for name in hub.names)
            self._sizes = [size * factor for size, factor in zip(hub.sizes, factors, strict=True)]
        self._before = list(accumulate(self._sizes, initial=0.0))
        self.bytes = self._before[-1]
        self.content = "" if self._hub is None else self._hub.fingerprint

    def share(self, place: Place) -> float:
        """Return the share of the text before a place, at most 1; it depends on files and place only."""
        if place.ended or place.file >= len(self._sizes) or not self.bytes:
            return 1.0
        here = self._sizes[place.file] * (self._share_of_file(place) if place != Place(place.file) else 0.0)
        return min(1.0, (self._before[place.file] + here) / self.bytes)

    def _share_of_file(self, place: Place) -> float:
        if self._hub is not None:
            return self._hub.share_of_file(place)
        if not self._files:
            return min(1.0, place.offset / _SENTENCES)
        path = self._files[place.file]
        whole = _num_rows(path) if path.suffix == ".parquet" else self._sizes[place.file]
        return min(1.0, place.offset / max(1.0, whole))


@lru_cache(maxsize=1024)
def _num_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def text_bytes(sources: Sequence[DataSource]) -> int | None:
    """Return the bytes of text of all sources, roughly; None when one of them cannot be streamed.

    A data set of the hub is streamed when the hub may be asked, and when a whole split is named.

    Raises:
        DataError: a source does not exist, or the hub does not answer.
    """
    if not all(map(can_be_streamed, sources)):
        return None
    return round(sum(Extent(source).bytes for source in sources))


def can_be_streamed(source: DataSource) -> bool:
    """Return whether a source can be read without a copy; the hub is not asked."""
    if source.source.startswith("ultra:") or find_files(source.source) is not None:
        return True
    return not is_offline() and not set(source.split) & set("[+")
