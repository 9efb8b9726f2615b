"""The texts of a source, whatever it is: files, an embedded data set, or a data set of the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import attrs

from ultra_train.data import es_commands
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources import hub
from ultra_train.data.sources.data_source import DataSource, SourceSpec, read_sources
from ultra_train.data.sources.embedded import is_embedded, language_of
from ultra_train.data.sources.files import FoundFiles, find_files
from ultra_train.data.sources.hub_files import HubFiles, hub_files
from ultra_train.data.sources.place import Place
from ultra_train.data.sources.readers import read_file
from ultra_train.data.sources.row_checker import NAMED, OnBadRows, RowChecker

_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A text of a source.

    Attributes:
        text: the text.
        group: texts of the same group are held out for evaluation together; None for a group of its own.
    """

    text: str
    group: str | None = None


@attrs.frozen(kw_only=True)
class TextReader:
    """Reads the texts of sources.

    Attributes:
        cache_dir: folder that caches embedded data sets; None builds them in memory.
        streamed: whether data sets of the hub are read without a copy on this machine.
        notify: is called with a line about a damaged cache.
    """

    cache_dir: str | Path | None = None
    streamed: bool = False
    notify: Notify = _log.warning

    def texts(self, spec: SourceSpec, on_bad_rows: OnBadRows = "error") -> Iterator[str]:
        """Yield the texts of one or several sources, in order.

        Args:
            spec: one or several sources, as :func:`read_sources` takes them.
            on_bad_rows: whether a row that cannot be used is an error or is left out.

        Raises:
            DataError: see :meth:`records`.
        """
        for source in read_sources(spec):
            for record in self.records(source, RowChecker(source.source, on_bad_rows)):
                yield record.text

    def records(
        self, source: DataSource, checker: RowChecker | None = None, place: Place | None = None
    ) -> Iterator[Record]:
        """Yield the records of one source.

        Args:
            source: the source.
            checker: counts the rows and decides about bad ones; without it, a bad row is an error.
            place: where reading begins; it is moved behind each row before its text is yielded.

        Raises:
            DataError: the source is missing, empty, binary, not UTF-8 or broken, lacks the column, or has no
                usable text.
        """
        checker, place = checker or RowChecker(source.source), place or Place()
        empty = place.is_start
        for record in self._records(source, checker, place):
            empty = False
            yield record
        if empty:
            raise _no_usable_text(source, checker)

    def _records(self, source: DataSource, checker: RowChecker, place: Place) -> Iterator[Record]:
        if is_embedded(source.source):
            language = language_of(source.source)
            sentences = es_commands.sentences(language, cache_dir=self.cache_dir, notify=self.notify)
            for sentence in islice(sentences, place.offset, None):
                checker.counts.texts += 1
                place.offset += 1
                yield Record(sentence.text, sentence.template)
        elif (files := find_files(source.source)) is not None:
            if place.is_start:
                _count_skipped_files(files, checker)
            for path in files.texts[place.file :]:
                yield from map(Record, read_file(path, source.column, checker, place))
                place.next_file()
        elif self.streamed:
            yield from map(Record, files_on_hub(source).texts(checker, place))
        else:
            texts = hub.texts(source.source, source.name, source.split, source.column, checker, place)
            yield from map(Record, texts)


def _count_skipped_files(files: FoundFiles, checker: RowChecker) -> None:
    counts = checker.counts
    counts.empty_files, counts.other_files = len(files.empty), len(files.other)
    counts.passed_over = [str(path) for path in sorted([*files.empty, *files.other])[:NAMED]]


def _no_usable_text(source: DataSource, checker: RowChecker) -> DataError:
    counts = checker.counts
    if counts.faults:
        skipped = f"{counts.bad:,} rows and {counts.unreadable:,} files or parts of files cannot be used"
        return DataError(f"{source.source}: has no usable text; {skipped}. The first: {counts.faults[0]}")
    return DataError(f"{source.source}: has no usable text; every line or row of it is blank.")


def files_on_hub(source: DataSource) -> HubFiles:
    """Return the files of a data set of the hub.

    Raises:
        DataError: it cannot be reached.
    """
    return hub_files(source.source, source.name, source.split, source.column)


def identity(source: DataSource, *, streamed: bool = False) -> dict[str, object]:
    """Return what identifies the texts of a source; two sources with equal identities have equal texts.

    Files are identified by absolute path, size and modification time, an embedded data set by the versions it
    is built from, and a data set of the hub by the fingerprint of the library ``datasets``, or by its
    files when it is streamed. The weight of a source is not part of its identity.
    """
    about: dict[str, object] = {"source": source.source, "column": source.column}
    if is_embedded(source.source):
        return {**about, "versions": es_commands.versions(language_of(source.source))}
    found = find_files(source.source)
    if found is None:
        if streamed:
            fingerprint = files_on_hub(source).fingerprint
        else:
            fingerprint = hub.fingerprint(source.source, source.name, source.split)
        return {**about, "name": source.name, "split": source.split, "fingerprint": fingerprint}
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in found.texts]
    return {**about, "files": files}


def check_exists(source: DataSource) -> None:
    """Check that a source exists, without reading it; names of the hub are not looked up.

    Raises:
        DataError: a file, folder or embedded data set does not exist, or has no file in a known format.
    """
    if is_embedded(source.source):
        language_of(source.source)
    else:
        find_files(source.source)
