"""The best documents by dense and by sparse vectors: every document is scored, nothing is approximated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ultra_core.errors import UltraError
from ultra_train.retrieval.ranking import Ranking, best

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

QUERIES_AT_ONCE = 64


def dense_top_k(
    queries: np.ndarray,
    documents: np.ndarray,
    k: int,
    similarity: Callable[[Any, Any], Any] | None = None,
    queries_at_once: int = QUERIES_AT_ONCE,
) -> Ranking:
    """Return the documents with the highest similarity to each query.

    Args:
        queries: vectors ``(Q, D)``.
        documents: vectors ``(N, D)``.
        k: how many documents; with fewer, all of them are returned.
        similarity: function of tensors ``(B, D)`` and ``(N, D)`` that returns ``(B, N)``, such as
            ``SentenceTransformer.similarity``; the dot product by default.
        queries_at_once: ``B``; so many rows of scores are in memory.

    Raises:
        UltraError: a vector holds NaN or infinity.
    """
    import torch

    for name, vectors in (("queries", queries), ("documents", documents)):
        if not np.isfinite(vectors).all():
            raise UltraError(f"the vectors of the {name} hold NaN or infinity, so they cannot be ranked")
    columns = torch.from_numpy(documents)
    k = min(k, len(documents))
    rows = []
    for start in range(0, len(queries), queries_at_once):
        block = torch.from_numpy(queries[start : start + queries_at_once])
        scores = block @ columns.T if similarity is None else similarity(block, columns)
        for values in scores.cpu().numpy():
            found = best(values, k)
            rows.append((found, values[found]))
    return Ranking.of(rows, k)


class InvertedIndex:
    """Sparse document vectors by dimension, so that a query reads only the dimensions it has.

    The vectors are held as a matrix ``(V, N)`` in compressed rows: each row is the list of the documents
    that have one dimension. A query takes the rows of its dimensions and adds them up with its weights, so
    its time grows with the number of entries in those rows, not with documents or vocabulary.

    Args:
        documents: vectors ``(N, V)``.

    Raises:
        UltraError: a vector holds NaN or infinity.
    """

    def __init__(self, documents: csr_matrix) -> None:
        if not np.isfinite(documents.data).all():
            raise UltraError("the vectors of the documents hold NaN or infinity, so they cannot be ranked")
        self._by_dimension = documents.T.tocsr()

    @classmethod
    def of(cls, blocks: Iterable[csr_matrix]) -> InvertedIndex:
        """Return the index of documents that come in blocks ``(n, V)``."""
        from scipy.sparse import vstack

        return cls(vstack(list(blocks), format="csr"))

    def __len__(self) -> int:
        return int(self._by_dimension.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the index in memory."""
        matrix = self._by_dimension
        return int(matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes)

    def scores(self, dimensions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the dot products of one query with all documents ``(N,)``.

        Args:
            dimensions: the dimensions that the query has ``(n,)``.
            weights: their weights ``(n,)``.
        """
        return self._by_dimension[dimensions].T @ weights

    def search(self, queries: csr_matrix, k: int) -> Ranking:
        """Return the documents with the highest dot products that are above zero.

        Args:
            queries: vectors ``(Q, V)``.
            k: how many documents at most.

        Raises:
            UltraError: a vector holds NaN or infinity.
        """
        if not np.isfinite(queries.data).all():
            raise UltraError("the vectors of the queries hold NaN or infinity, so they cannot be ranked")
        k = min(k, len(self))
        rows = []
        for start, end in zip(queries.indptr, queries.indptr[1:], strict=False):
            scores = self.scores(queries.indices[start:end], queries.data[start:end])
            found = best(scores, k)
            found = found[scores[found] > 0]
            rows.append((found, scores[found]))
        return Ranking.of(rows, k)
