"""The texts of several sources, one window after the other, from any cursor on."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import attrs

from ultra_train.data.cache import Notify
from ultra_train.data.sources.data_source import DataSource
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.row_checker import OnBadRows, RowChecker, SourceCounts
from ultra_train.data.sources.texts import Record, TextReader
from ultra_train.data.streaming.extent import Extent

_TURNS = 64
"""Number of turns in a window; in each, texts of one source are read."""

_OPEN = 100
"""Number of sources that are kept open; others are opened again at their place, within a limit on files."""

Cursor = tuple[tuple[int, int, int, int], ...]
"""The fields of the ``Place`` in each source; an empty one is the start of all sources."""


class Taken(NamedTuple):
    """What is known of a window once its texts were read.

    Attributes:
        end: the cursor of the next window.
        last: whether there is no next window; it may turn out to have no texts.
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
    """Reads texts window by window, from all sources in proportion to their sizes.

    A turn belongs to the source of which the smallest share was read. This depends on the places in the
    sources only, so that a stream that begins at a cursor goes on as the one did that came to it.

    Args:
        texts: the sources.
        cursor: where to begin.
    """

    def __init__(self, texts: Texts, cursor: Cursor) -> None:
        self._texts = texts
        self._checkers = [RowChecker(source.source, texts.on_bad_rows) for source in texts.sources]
        self._places = [Place(*entry) for entry in cursor] or [Place() for _ in texts.sources]
        self._extents = [Extent(source) for source in texts.sources]
        self._readers: dict[int, Iterator[Record]] = {}
        self._turns = [
            (self._extents[number].share(place), number)
            for number, place in enumerate(self._places)
            if not place.ended
        ]
        heapq.heapify(self._turns)

    def take(self, count: int) -> Iterator[tuple[int, Record]]:
        """Yield the texts of a window, with the index of their source; call ``taken`` afterwards.

        Args:
            count: number of texts; only the last window may have fewer.
        """
        left, turn = count, -(-count // _TURNS)
        while left and self._turns:
            _, number = heapq.heappop(self._turns)
            wanted, got = min(turn, left), 0
            for record in islice(self._reader(number), wanted):
                got += 1
                yield number, record
            left -= got
            place = self._places[number]
            if got < wanted:
                place.ended = 1
                del self._readers[number]
            else:
                heapq.heappush(self._turns, (self._extents[number].share(place), number))

    def taken(self) -> Taken:
        """Return the end and the counts of the window that was read."""
        counts = [checker.counts for checker in self._checkers]
        for checker in self._checkers:
            checker.counts = SourceCounts(checker.counts.source)
        return Taken(tuple(attrs.astuple(place) for place in self._places), not self._turns, counts)

    def _reader(self, number: int) -> Iterator[Record]:
        if number not in self._readers:
            if len(self._readers) >= _OPEN:
                del self._readers[next(iter(self._readers))]
            reader = TextReader(cache_dir=self._texts.cache_dir, streamed=True, notify=self._texts.notify)
            source, checker = self._texts.sources[number], self._checkers[number]
            self._readers[number] = reader.records(source, checker, self._places[number])
        return self._readers[number]
