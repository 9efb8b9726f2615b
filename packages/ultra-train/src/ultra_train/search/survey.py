"""A first reading of all documents, which finds their faults before a model is loaded."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import attrs
import numpy as np

from ultra_train.data.errors import DataError
from ultra_train.data.hashing import text_hash
from ultra_train.search.documents import Document, DocumentSource


@attrs.frozen(kw_only=True)
class Survey:
    """What a first reading of the documents has found.

    Attributes:
        source: where the documents come from.
        documents: number of different documents with a text.
        empty: number of documents without title and text, which are left out.
        repeated: number of documents without an id whose content occurred before; they are left out, too.
        repeated_hashes: hashes of the ids that occur more than once.
    """

    source: DocumentSource
    documents: int
    empty: int
    repeated: int
    repeated_hashes: frozenset[int]

    def read(self) -> Iterator[Document]:
        """Read the documents again; yield each of them once, without the empty ones."""
        seen: set[int] = set()
        for document in self.source.documents():
            if not document.searched:
                continue
            if self.repeated_hashes and (key := text_hash(document.id)) in self.repeated_hashes:
                if key in seen:
                    continue
                seen.add(key)
            yield document


def survey(source: DocumentSource) -> Survey:
    """Read all documents once, and check them; 8 bytes of memory are needed for each.

    Raises:
        DataError: a file cannot be read, a row is bad, an id occurs twice, or there is no document.
    """
    hashes, empty, from_content = array("Q"), 0, True
    for document in source.documents():
        if document.searched:
            hashes.append(text_hash(document.id))
            from_content = from_content and document.id == document.content
        else:
            empty += 1
    if not hashes:
        raise DataError(f"{source.source}: has no documents; every one of them is empty.")
    sorted_hashes = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    twice = sorted_hashes[1:][sorted_hashes[1:] == sorted_hashes[:-1]]
    repeated = frozenset(twice.tolist())
    if repeated and not from_content:
        _refuse_repeated_ids(source, repeated)
    return Survey(
        source=source,
        documents=len(hashes) - len(twice),
        empty=empty,
        repeated=len(twice),
        repeated_hashes=repeated,
    )


def _refuse_repeated_ids(source: DocumentSource, repeated: frozenset[int]) -> None:
    """Raise an error that names the first two documents with the same id, unless their ids are hashes."""
    first: dict[str, Document] = {}
    for document in source.documents():
        if not document.searched or text_hash(document.id) not in repeated:
            continue
        other = first.setdefault(document.id, document)
        if other is not document and document.id != document.content:
            raise DataError(
                f"{document.where}: the id {document.id!r} is that of another document already, at "
                f"{other.where}; ids must be unique."
            )
