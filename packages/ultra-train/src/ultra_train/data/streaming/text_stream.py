"""The texts of several sources, one window after the other, from any cursor on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import attrs

from ultra_train.data.cache import Notify
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import OnBadRows, RowChecker, SourceCounts
from ultra_train.data.sources.texts import Record, read_records


class Cursor(NamedTuple):
    """Where the first row of a window is: source, file of the source, bytes or rows and lines before it."""

    source: int = 0
    file: int = 0
    offset: int = 0
    line: int = 0


class Taken(NamedTuple):
    """What is known of a window once its texts were read.

    Attributes:
        end: the cursor of the next window.
        last: whether there is no next window.
        counts: the counts of the rows of each source, in the order of the sources.
    """

    end: Cursor
    last: bool
    counts: list[SourceCounts]


@attrs.frozen
class Texts:
    """The sources of a stream, and how they are read; see ``token_cache.build.prepare``."""

    sources: tuple[DataSource, ...]
    cache_dir: Path
    on_bad_rows: OnBadRows
    notify: Notify


class TextStream:
    """Reads texts window by window.

    Args:
        texts: the sources.
        cursor: where to begin.
    """

    def __init__(self, texts: Texts, cursor: Cursor) -> None:
        self._texts = texts
        self._checkers = [RowChecker(source.source, texts.on_bad_rows) for source in texts.sources]
        self._source, self._place = cursor.source, Place(*cursor[1:])
        self._records = self._read()

    def take(self, count: int) -> Iterator[tuple[int, Record]]:
        """Yield at most ``count`` texts with the index of their source; call ``taken`` afterwards."""
        for _ in range(count):
            record = next(self._records, None)
            if record is None:
                return
            yield record

    def taken(self) -> Taken:
        """Return the end and the counts of the window that was read."""
        end = Cursor(self._source, self._place.file, self._place.offset, self._place.line)
        before = [_copy(checker.counts) for checker in self._checkers]
        following = next(self._records, None)
        if following is None:
            return Taken(end, True, [_copy(checker.counts) for checker in self._checkers])
        for checker, counts in zip(self._checkers, before, strict=True):
            checker.counts = _difference(checker.counts, counts)
        self._records = chain([following], self._records)
        return Taken(end, False, before)

    def _read(self) -> Iterator[tuple[int, Record]]:
        for number in range(self._source, len(self._texts.sources)):
            if number != self._source:
                self._source, self._place = number, Place()
            source, checker = self._texts.sources[number], self._checkers[number]
            for record in read_records(
                source,
                cache_dir=self._texts.cache_dir,
                checker=checker,
                place=self._place,
                notify=self._texts.notify,
            ):
                yield number, record


def _copy(counts: SourceCounts) -> SourceCounts:
    return attrs.evolve(counts, faults=[*counts.faults], passed_over=[*counts.passed_over])


def _difference(after: SourceCounts, before: SourceCounts) -> SourceCounts:
    """Return the counts of the rows between two moments."""
    result = SourceCounts(after.source)
    for name, value in attrs.asdict(after).items():
        earlier: Sequence[str] | int = getattr(before, name)
        if type(value) is int:
            setattr(result, name, value - earlier)  # type: ignore[operator]
        elif isinstance(value, list):
            setattr(result, name, value[len(earlier) :])  # type: ignore[arg-type]
    return result
