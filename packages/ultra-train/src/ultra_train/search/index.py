"""An index of documents: a collection of Milvus with the vectors that its manifest names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.search.documents import Document
from ultra_train.search.errors import SearchError
from ultra_train.search.manifest import IndexManifest
from ultra_train.search.milvus import ANSWER_SECONDS, Connection
from ultra_train.search.schema import (
    CONTENT,
    DENSE,
    ID,
    MAX_RESULTS,
    MAX_TEXT_BYTES,
    MAX_TITLE_BYTES,
    PROPERTY_COMPLETE,
    PROPERTY_MANIFEST,
    SPARSE,
    TEXT,
    TITLE,
    collection_schema,
    index_parameters,
    metric_of,
)
from ultra_train.search.sparse_vectors import SparseVector

DEFAULT_COLLECTION = "documents"


class Entry(NamedTuple):
    """A document with its vectors.

    Attributes:
        document: the document.
        dense: (dimension,) values, when the index has dense vectors.
        sparse: the sparse vector, when the index has such vectors.
    """

    document: Document
    dense: Sequence[float] | None = None
    sparse: SparseVector | None = None


class StoredText(NamedTuple):
    """The title and the text of a document as the index has them; the text begins with the title."""

    title: str
    text: str


@attrs.frozen
class SearchIndex:
    """An open index; make one with :func:`open_index` or :func:`create_index`.

    Attributes:
        connection: the connection to Milvus.
        name: name of the collection.
        manifest: which vectors there are, and the models that they come from.
    """

    connection: Connection
    name: str
    manifest: IndexManifest

    @property
    def where(self) -> str:
        """The index as error messages name it."""
        return self.connection.uri

    def contents(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the hash of the content of those of the named documents that the index has."""
        return {row[ID]: row[CONTENT] for row in self._rows(ids, [CONTENT], consistency_level="Strong")}

    def texts(self, ids: Sequence[str]) -> dict[str, StoredText]:
        """Return titles and texts of documents by their ids."""
        return {row[ID]: StoredText(row[TITLE], row[TEXT]) for row in self._rows(ids, [TITLE, TEXT])}

    def _rows(self, ids: Sequence[str], fields: list[str], **options: Any) -> list[dict[str, Any]]:
        if not ids:
            return []
        expression = f"{ID} in {json.dumps(list(ids), ensure_ascii=False)}"
        with self.connection.errors():
            rows: list[dict[str, Any]] = self.connection.client.query(
                self.name, expression, [ID, *fields], timeout=ANSWER_SECONDS, **options
            )
            return rows

    def add(self, entries: Iterable[Entry], *, replace: bool = False) -> None:
        """Add documents, all or none of them.

        Args:
            entries: the documents with their vectors; some tens of megabytes at most.
            replace: whether they may be in the index already, and then replace what it has.
        """
        client = self.connection.client
        with self.connection.errors():
            send = client.upsert if replace else client.insert
            send(self.name, [self._row(entry) for entry in entries], timeout=ANSWER_SECONDS)

    def _row(self, entry: Entry) -> dict[str, Any]:
        from ultra_train.search.packing import PackedRow

        document = entry.document
        row: dict[str, Any] = {
            ID: document.id,
            TITLE: cut_bytes(document.title, MAX_TITLE_BYTES),
            TEXT: cut_bytes(document.searched, MAX_TEXT_BYTES),
            CONTENT: document.content,
        }
        if self.manifest.dense is not None:
            row[DENSE] = entry.dense
        if self.manifest.sparse is not None:
            assert entry.sparse is not None
            row[SPARSE] = PackedRow(entry.sparse)
        return row

    def finish(self) -> None:
        """Write everything that was added to its files, and note that the index is complete."""
        with self.connection.errors():
            self.connection.client.flush(self.name, timeout=ANSWER_SECONDS)
        self._mark_complete(True)

    def begin(self) -> None:
        """Note that the index is not complete until :meth:`finish` is called."""
        self._mark_complete(False)

    def _mark_complete(self, complete: bool) -> None:
        with self.connection.errors():
            self.connection.client.alter_collection_properties(
                self.name, {PROPERTY_COMPLETE: json.dumps(complete)}, timeout=ANSWER_SECONDS
            )

    @property
    def is_complete(self) -> bool:
        """Whether the last building of the index ended."""
        return _properties(self.connection, self.name).get(PROPERTY_COMPLETE) == "true"

    def count(self) -> int:
        """Return the number of documents."""
        with self.connection.errors():
            rows = self.connection.client.query(
                self.name, "", ["count(*)"], timeout=ANSWER_SECONDS, consistency_level="Strong"
            )
            return int(rows[0]["count(*)"])

    def nearest(self, field: str, query: Any, k: int) -> list[tuple[str, float]]:
        """Return the best documents of one retriever.

        Args:
            field: ``dense``, ``sparse`` or ``bm25``.
            query: a dense vector, a sparse vector, or for ``bm25`` a text. Milvus knows no negative values in
                sparse vectors; they are left out.
            k: number of documents.

        Returns:
            ids with scores, best first; of euclidean distances the negative, so that higher is better.

        Raises:
            SearchError: ``k`` is greater than Milvus allows, or Milvus refuses the search.
        """
        if k > MAX_RESULTS:
            raise SearchError(f"{k:,} results are more than the {MAX_RESULTS:,} that Milvus returns at once")
        if field == SPARSE:
            query = {index: value for index, value in query.by_dimension().items() if value > 0}
            if not query:
                return []
        metric = metric_of(field, self.manifest)
        with self.connection.errors():
            found = self.connection.client.search(
                self.name,
                data=[query],
                anns_field=field,
                limit=k,
                output_fields=[ID],
                search_params={"metric_type": metric},
                timeout=ANSWER_SECONDS,
            )
        return [(hit[ID], _score(metric, hit["distance"])) for hit in found[0]]


def create_index(
    connection: Connection, manifest: IndexManifest, name: str = DEFAULT_COLLECTION
) -> tuple[SearchIndex, bool]:
    """Create an index, or open it if it is there and was built with the same models.

    Returns:
        the index, and whether it is new.

    Raises:
        SearchError: it was built with other models.
    """
    client = connection.client
    if connection.has(name):
        index = open_index(connection, name)
        index.manifest.check_same(manifest, connection.uri)
        return index, False
    with connection.errors():
        client.create_collection(
            name,
            schema=collection_schema(client, manifest),
            index_params=index_parameters(client, manifest, embedded=connection.embedded),
            properties={PROPERTY_MANIFEST: manifest.to_json(), PROPERTY_COMPLETE: "false"},
            timeout=ANSWER_SECONDS,
        )
    return SearchIndex(connection, name, manifest), True


def open_index(connection: Connection, name: str = DEFAULT_COLLECTION) -> SearchIndex:
    """Open an index for searching.

    Raises:
        SearchError: there is no such collection, or it was not built by ``ultra-train index``.
    """
    client = connection.client
    with connection.errors():
        there = client.list_collections(timeout=ANSWER_SECONDS)
    if name not in there:
        raise SearchError(
            f"{connection.uri}: has no collection {name!r}.{did_you_mean(name, there)} Collections there: "
            f"{listed(sorted(there))}."
        )
    text = _properties(connection, name).get(PROPERTY_MANIFEST)
    if text is None:
        raise SearchError(f"{connection.uri}: collection {name!r} was not built by ultra-train index")
    with connection.errors():
        client.load_collection(name, timeout=ANSWER_SECONDS)
    return SearchIndex(connection, name, IndexManifest.from_json(text, connection.uri))


def _properties(connection: Connection, name: str) -> dict[str, str]:
    with connection.errors():
        described = connection.client.describe_collection(name, timeout=ANSWER_SECONDS)
    return dict(described.get("properties") or {})


def _score(metric: str, distance: float) -> float:
    if metric == "BM25":
        return abs(distance)  # it is never negative; milvus-lite returns it with the sign changed
    return -distance if metric == "L2" else distance


def cut_bytes(text: str, size: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore")
