"""The searches that are compared: by dense vectors, by sparse vectors, by words."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import median
from typing import Any

import attrs
import numpy as np

from ultra_train.evaluation.vectors import DenseVectors, SparseVectors
from ultra_train.retrieval.bm25 import BM25Index
from ultra_train.retrieval.ranking import Ranking
from ultra_train.retrieval.scoring import InvertedIndex, dense_top_k

_TIMED_QUERIES = 30
_WARMING_QUERIES = 2


@attrs.frozen
class Costs:
    """What a system takes.

    Attributes:
        index_bytes: bytes of its index in memory.
        index_seconds: seconds for encoding and indexing all documents.
        encode_ms: milliseconds for encoding one query, the median.
        search_ms: milliseconds for scoring all documents with one query, the median.
    """

    index_bytes: int
    index_seconds: float
    encode_ms: float
    search_ms: float

    @property
    def query_ms(self) -> float:
        """Milliseconds for one query."""
        return self.encode_ms + self.search_ms


class System(ABC):
    """A search over the documents of one collection.

    Args:
        name: its name in tables.
    """

    kind: str

    def __init__(self, name: str) -> None:
        self.name = name
        self._index_seconds = 0.0

    def index(self, documents: Sequence[str]) -> None:
        """Encode and index the documents."""
        start = time.perf_counter()
        self._build(documents)
        self._index_seconds = time.perf_counter() - start

    def search(self, queries: Sequence[str], k: int) -> Ranking:
        """Return the best ``k`` documents of each query."""
        return self._find(self._encode(queries), k)

    def costs(self, queries: Sequence[str], k: int) -> Costs:
        """Return what the system takes; some of the queries are searched one by one.

        Args:
            queries: the queries.
            k: how many documents are asked for.
        """
        encoding, searching = [], []
        for number, query in enumerate(queries[: _TIMED_QUERIES + _WARMING_QUERIES]):
            start = time.perf_counter()
            vector = self._encode([query])
            middle = time.perf_counter()
            self._find(vector, k)
            if number >= _WARMING_QUERIES or len(queries) <= _WARMING_QUERIES:
                encoding.append(middle - start)
                searching.append(time.perf_counter() - middle)
        return Costs(self._bytes(), self._index_seconds, 1e3 * median(encoding), 1e3 * median(searching))

    @abstractmethod
    def _build(self, documents: Sequence[str]) -> None: ...

    @abstractmethod
    def _encode(self, queries: Sequence[str]) -> Any: ...

    @abstractmethod
    def _find(self, queries: Any, k: int) -> Ranking: ...

    @abstractmethod
    def _bytes(self) -> int: ...


class DenseSystem(System):
    """Search by the similarity of dense vectors."""

    kind = "dense"

    def __init__(self, name: str, vectors: DenseVectors) -> None:
        super().__init__(name)
        self._vectors = vectors
        self._documents = np.empty((0, 0), dtype=np.float32)

    def _build(self, documents: Sequence[str]) -> None:
        self._documents = self._vectors.documents(documents)

    def _encode(self, queries: Sequence[str]) -> np.ndarray:
        return self._vectors.queries(queries)

    def _find(self, queries: np.ndarray, k: int) -> Ranking:
        return dense_top_k(queries, self._documents, k, self._vectors.model.similarity)

    def _bytes(self) -> int:
        return self._documents.nbytes


class SparseSystem(System):
    """Search by the dot products of sparse vectors.

    Attributes:
        documents: vectors of the documents ``(N, V)``.
    """

    kind = "sparse"

    def __init__(self, name: str, vectors: SparseVectors) -> None:
        super().__init__(name)
        self.vectors = vectors
        self.documents: Any = None
        self._index: Any = None

    def _build(self, documents: Sequence[str]) -> None:
        self.documents = self.vectors.documents(documents)
        self._index = InvertedIndex(self.documents)

    def _encode(self, queries: Sequence[str]) -> Any:
        return self.vectors.queries(queries)

    def _find(self, queries: Any, k: int) -> Ranking:
        return self._index.search(queries, k)

    def _bytes(self) -> int:
        return int(self._index.nbytes)


class BM25System(System):
    """Search by words.

    Args:
        language: the language whose stemmer is used; guessed from the documents by default.
    """

    kind = "BM25"

    def __init__(self, language: str | None = None) -> None:
        super().__init__("BM25")
        self.language = language
        self._index: Any = None

    def _build(self, documents: Sequence[str]) -> None:
        self._index = BM25Index(documents, self.language)
        self.language = self._index.language

    def _encode(self, queries: Sequence[str]) -> Sequence[str]:
        return queries

    def _find(self, queries: Sequence[str], k: int) -> Ranking:
        return self._index.search(queries, k)

    def _bytes(self) -> int:
        return int(self._index.nbytes)


def system_of(name: str, vectors: DenseVectors | SparseVectors) -> System:
    """Return the search by the vectors of a model."""
    return SparseSystem(name, vectors) if isinstance(vectors, SparseVectors) else DenseSystem(name, vectors)
