"""Building an index: documents are read, encoded and added in batches, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import attrs

from ultra_train.search.documents import Document
from ultra_train.search.index import Entry, SearchIndex
from ultra_train.search.manifest import Kind

DOCUMENTS_AT_ONCE = 512
"""Documents of a batch; even of the longest texts they stay below the 64 MiB of a request to Milvus."""


class EncodesDocuments(Protocol):
    """What gives the vectors of documents, such as :class:`~ultra_train.search.encoders.Encoder`."""

    def documents(self, texts: Sequence[str]) -> list[Any]:
        """Return one vector for each text."""


@attrs.define
class BuildCounts:
    """What became of the documents.

    Attributes:
        added: documents that the index did not have.
        replaced: documents whose content had changed.
        unchanged: documents that the index had already; they are not encoded again.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    @property
    def read(self) -> int:
        """Documents that were read."""
        return self.added + self.replaced + self.unchanged


def build(
    index: SearchIndex,
    documents: Iterable[Document],
    encoders: Mapping[Kind, EncodesDocuments],
    *,
    empty: bool,
    batch: int = DOCUMENTS_AT_ONCE,
    report: Callable[[BuildCounts], None] = lambda counts: None,
) -> BuildCounts:
    """Add documents to an index, which is complete afterwards.

    A batch is added as a whole or not at all, and a document that the index has with the same content is left
    as it is. So a building that was killed goes on where it stopped when it is started again, and a second
    one only encodes what is new.

    Args:
        index: the index.
        documents: the documents; their ids differ.
        encoders: the models whose vectors the index holds.
        empty: whether the index has no document yet, so that it need not be asked for any.
        batch: documents that are encoded and added at once.
        report: is called after every batch.
    """
    counts = BuildCounts()
    index.begin()
    for group in batches(documents, batch):
        known = {} if empty else index.contents([document.id for document in group])
        fresh = [document for document in group if document.id not in known]
        changed = [
            document for document in group if known.get(document.id, document.content) != document.content
        ]
        for part, replace in ((fresh, False), (changed, True)):
            if part:
                index.add(_entries(part, encoders), replace=replace)
        counts.added += len(fresh)
        counts.replaced += len(changed)
        counts.unchanged += len(group) - len(fresh) - len(changed)
        report(counts)
    index.finish()
    return counts


def _entries(documents: Sequence[Document], encoders: Mapping[Kind, EncodesDocuments]) -> Iterator[Entry]:
    texts = [document.searched for document in documents]
    vectors = {kind: encoder.documents(texts) for kind, encoder in encoders.items()}
    for number, document in enumerate(documents):
        yield Entry(document, **{kind: found[number] for kind, found in vectors.items()})


def batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Yield lists of so many documents; the last one may be shorter."""
    source = iter(documents)
    while group := list(islice(source, size)):
        yield group
