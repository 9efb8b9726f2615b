"""``DataSource``: where texts come from, as a preset writes it.

A source is a string or a mapping; several sources are a list::

    dataset:
      - {source: "corpus/*.txt.gz", weight: 2}
      - {source: answers.jsonl, column: answer}
      - ultra:es-commands

The meaning of a string is decided in this order: ``ultra:NAME`` is an embedded data set; a path that exists
is read; a pattern with ``*``, ``?`` or ``[`` is a glob; anything else that looks like a path is a missing
file; the rest is a data set of the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError


@attrs.frozen
class DataSource:
    """A source of texts.

    Attributes:
        source: path of a file or folder, glob, ``ultra:NAME``, or name of a data set of the hub.
        split: the split of a data set of the hub; files have none.
        column: the column that holds the text, in formats with columns.
        weight: how often an epoch covers this source: 2 shows each document twice, 0.5 shows another half of
            the documents in every epoch.
        name: the configuration of a data set of the hub, such as a language.

    Raises:
        DataError: ``source`` is empty, or ``weight`` is not a positive number.
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
"""What the key ``dataset`` of a preset may hold."""


def read_sources(spec: SourceSpec) -> list[DataSource]:
    """Return the sources that the key ``dataset`` of a preset names.

    Raises:
        DataError: the list is empty, or a mapping has an unknown key or lacks one.
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
