"""Sources of text: files, folders, globs, data sets of the Hugging Face hub, and the embedded `ultra:*` sets.

A source is written as a string or a mapping, several as a list::

    dataset:
      - {source: "corpus/*.txt.gz", weight: 2}
      - {source: answers.jsonl, column: answer}
      - ultra:es-commands

What a string means is decided in this order: `ultra:NAME` is an embedded set; a path that exists is read; a
pattern with ``*``, ``?`` or ``[`` is a glob; something that looks like a path is a missing file; the rest is
a data set of the hub.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.data import es_commands
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.sources import hub
from ultra_train.data.sources.files import Files, find_files
from ultra_train.data.sources.readers import read_file
from ultra_train.data.sources.row_checker import NAMED, OnBadRows, RowChecker

_EMBEDDED = "ultra:"
_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A text, and what must stay together when a part is held out for evaluation (its own text when None)."""

    text: str
    group: str | None = None


@attrs.frozen
class DataSource:
    """Where texts come from.

    Attributes:
        source: Path of a file or folder, glob, `ultra:NAME`, or name of a data set of the hub.
        split: The split of a data set of the hub; files have none.
        column: The column that holds the text, where there are columns.
        weight: How often an epoch passes over this source: 2 shows each document twice, 0.5 another half of
            them in every epoch.
        name: The configuration of a data set of the hub, such as a language.
    """

    source: str
    split: str = "train"
    column: str = "text"
    weight: float = 1.0
    name: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.source.strip():
            raise DataError(
                "A data source is empty; give a file, a folder, a glob, a data set or ultra:es-commands."
            )
        if not (0 < self.weight < float("inf")):
            raise DataError(f"{self.source}: weight is {self.weight}, but it must be a number above 0.")


SourceSpec = str | Mapping[str, object] | DataSource | Sequence["str | Mapping[str, object] | DataSource"]


def read_sources(spec: SourceSpec) -> list[DataSource]:
    """Return the sources that a preset's `dataset` means.

    Raises:
        DataError: An empty list, or a mapping with an unknown or missing key.
    """
    if isinstance(spec, str | Mapping | DataSource):
        return [_read_source(spec)]
    sources = [_read_source(item) for item in spec]
    if not sources:
        raise DataError("The list of data sources is empty; give at least one.")
    return sources


def _read_source(item: str | Mapping[str, object] | DataSource) -> DataSource:
    if isinstance(item, DataSource):
        return item
    if isinstance(item, str):
        return DataSource(item)
    allowed = [field.name for field in attrs.fields(DataSource)]
    for key in item:
        if key not in allowed:
            raise DataError(
                f"A data source has the unknown key {key!r}; allowed are {listed(allowed)}."
                f"{did_you_mean(str(key), allowed)}"
            )
    if not isinstance(item.get("source"), str):
        raise DataError("A data source needs the key 'source' with a text as its value.")
    return DataSource(**item)  # type: ignore[arg-type]


def read_texts(
    spec: SourceSpec,
    *,
    cache_dir: str | Path | None = None,
    on_bad_rows: OnBadRows = "error",
    notify: Notify = _log.warning,
) -> Iterator[str]:
    """Yield the texts of one or several sources, in order.

    Args:
        spec: What `read_sources` reads.
        cache_dir: Where an embedded set is kept once it is built; None builds it in memory.
        on_bad_rows: Whether a row that cannot be used is an error, or is left out.
        notify: Called with a line about a damaged cache.

    Raises:
        DataError: See `records`.
    """
    for source in read_sources(spec):
        checker = RowChecker(source.source, on_bad_rows)
        for record in read_records(source, cache_dir=cache_dir, checker=checker, notify=notify):
            yield record.text


def read_records(
    source: DataSource,
    *,
    cache_dir: str | Path | None = None,
    checker: RowChecker | None = None,
    notify: Notify = _log.warning,
) -> Iterator[Record]:
    """Yield the records of one source.

    Args:
        source: The source.
        cache_dir: See `documents`.
        checker: Counts what is read, and says what a bad row means; left out, it is an error.
        notify: Called with a line about a damaged cache.

    Raises:
        DataError: The source is missing, empty, binary, not UTF-8, broken, lacks the column, or has no usable
        text.
    """
    checker = checker or RowChecker(source.source)
    if source.source.startswith(_EMBEDDED):
        for sentence in es_commands.sentences(_language(source), cache_dir=cache_dir, notify=notify):
            checker.counts.texts += 1
            yield Record(sentence.text, sentence.template)
    elif (files := find_files(source.source)) is not None:
        _note_passed_over(files, checker)
        for path in files.texts:
            yield from map(Record, read_file(path, source.column, checker))
    else:
        yield from map(Record, hub.texts(source.source, source.name, source.split, source.column, checker))
    if not checker.counts.texts:
        raise _no_usable_text(source, checker)


def _note_passed_over(files: Files, checker: RowChecker) -> None:
    counts = checker.counts
    counts.empty_files, counts.other_files = len(files.empty), len(files.other)
    counts.passed_over = [str(path) for path in sorted([*files.empty, *files.other])[:NAMED]]


def _no_usable_text(source: DataSource, checker: RowChecker) -> DataError:
    counts = checker.counts
    if counts.faults:
        skipped = f"{counts.bad:,} rows and {counts.unreadable:,} files or parts of files cannot be used"
        return DataError(f"{source.source}: has no usable text; {skipped}. The first: {counts.faults[0]}")
    return DataError(f"{source.source}: has no usable text; every line or row of it is blank.")


def identity(source: DataSource) -> dict[str, object]:
    """Return what says whether the source's texts are the same as last time (not its weight).

    Files by absolute path, size and time of change; an embedded set by the versions that build it; a data set
    of the hub by the fingerprint that `datasets` gives it.
    """
    about: dict[str, object] = {"source": source.source, "column": source.column}
    if source.source.startswith(_EMBEDDED):
        return {**about, "versions": es_commands.versions(_language(source))}
    found = find_files(source.source)
    if found is None:
        fingerprint = hub.fingerprint(source.source, source.name, source.split)
        return {**about, "name": source.name, "split": source.split, "fingerprint": fingerprint}
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in found.texts]
    return {**about, "files": files}


def check_exists(source: DataSource) -> None:
    """Look whether a source is there, without reading it; names of the hub are not looked up.

    Raises:
        DataError: A file, folder or embedded set that is not there, or has no text in a known format.
    """
    if source.source.startswith(_EMBEDDED):
        _language(source)
    else:
        find_files(source.source)


def _language(source: DataSource) -> str:
    known = {f"{_EMBEDDED}{language}-commands": language for language in es_commands.LANGUAGES}
    if source.source not in known:
        raise DataError(
            f"There is no embedded data set {source.source!r}; there are {listed(list(known))}."
            f"{did_you_mean(source.source, known)}"
        )
    return known[source.source]
