"""Encoders as what they are: dense vectors are never scored as sparse ones, nor the other way round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ultra_core.errors import UltraError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TEXTS_AT_ONCE = 2048
"""Texts whose vectors are computed in one call; texts of like length share its batches."""

_SPARSE_MODULES = ("SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding")


class DenseVectors:
    """The vectors of a ``SentenceTransformer``; queries and documents take their own prompts and routes.

    Args:
        model: the model.
        name: what it is called in errors.
        batch_size: texts that the model gets at once.

    Raises:
        UltraError: the model is no ``SentenceTransformer``, or has modules that give sparse vectors.
    """

    kind = "dense"

    def __init__(self, model: Any, name: str, batch_size: int = 32) -> None:
        from sentence_transformers import SentenceTransformer

        if not isinstance(model, SentenceTransformer):
            raise UltraError(
                f"{name} is a {type(model).__name__}; dense vectors come from a SentenceTransformer"
            )
        if sparse := [
            type(part).__name__ for part in model.modules() if type(part).__name__ in _SPARSE_MODULES
        ]:
            raise UltraError(
                f"{name} has {sparse[0]}, so it is sparse, but was loaded as a SentenceTransformer; "
                "load it as a SparseEncoder"
            )
        self.model, self._batch_size = model, batch_size

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of queries ``(Q, D)``."""
        return self._encoded(self.model.encode_query, texts)

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of documents ``(N, D)``."""
        return self._encoded(self.model.encode_document, texts)

    def similarities(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Return the similarity of each pair of texts ``(N,)``."""
        one, other = (self._encoded(encode, texts) for encode, texts in _sides(self.model, first, second))
        return self.model.similarity_pairwise(one, other).numpy().astype(np.float64)

    def _encoded(self, encode: Any, texts: Sequence[str]) -> np.ndarray:
        vectors = encode(
            list(texts), batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


class SparseVectors:
    """The vectors of a ``SparseEncoder``; queries and documents take their own prompts and routes.

    Vectors that the model compares by their cosine are scaled to length 1, so that dot products are cosines.

    Args:
        model: the model.
        name: what it is called in errors.
        batch_size: texts that the model gets at once.

    Raises:
        UltraError: the model is no ``SparseEncoder``, or compares vectors by a distance.
    """

    kind = "sparse"

    def __init__(self, model: Any, name: str, batch_size: int = 32) -> None:
        from sentence_transformers import SparseEncoder

        if not isinstance(model, SparseEncoder):
            raise UltraError(f"{name} is a {type(model).__name__}; sparse vectors come from a SparseEncoder")
        if model.similarity_fn_name not in ("dot", "cosine"):
            raise UltraError(
                f"{name} compares vectors by {model.similarity_fn_name}; sparse vectors are searched by dot "
                "products or cosines"
            )
        self.model, self._batch_size = model, batch_size

    @property
    def tokenizer(self) -> Any:
        """The tokenizer whose tokens are the dimensions, or None where they are not, as for CSR."""
        if any(type(part).__name__ == "SparseAutoEncoder" for part in self.model.modules()):
            return None
        return self.model.tokenizer

    def queries(self, texts: Sequence[str]) -> csr_matrix:
        """Return the vectors of queries ``(Q, V)``."""
        return self._stacked(self.model.encode_query, texts)

    def documents(self, texts: Sequence[str]) -> csr_matrix:
        """Return the vectors of documents ``(N, V)``."""
        return self._stacked(self.model.encode_document, texts)

    def similarities(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Return the similarity of each pair of texts ``(N,)``."""
        one, other = (self._stacked(encode, texts) for encode, texts in _sides(self.model, first, second))
        return np.asarray(one.multiply(other).sum(axis=1), dtype=np.float64).ravel()

    def _stacked(self, encode: Any, texts: Sequence[str]) -> csr_matrix:
        from scipy.sparse import vstack

        return vstack(list(self._blocks(encode, texts)), format="csr")

    def _blocks(self, encode: Any, texts: Sequence[str]) -> Iterator[csr_matrix]:
        from scipy.sparse import csr_matrix

        for start in range(0, len(texts), TEXTS_AT_ONCE):
            vectors = encode(
                list(texts[start : start + TEXTS_AT_ONCE]),
                batch_size=self._batch_size,
                convert_to_sparse_tensor=True,
                save_to_cpu=True,
                show_progress_bar=False,
            ).coalesce()
            places, weights = vectors.indices().numpy(), vectors.values().float().numpy()
            block = csr_matrix(
                (weights, (places[0], places[1])), shape=tuple(vectors.shape), dtype=np.float32
            )
            block.eliminate_zeros()
            yield _unit(block) if self.model.similarity_fn_name == "cosine" else block


def vectors_of(model: Any, name: str, batch_size: int = 32) -> DenseVectors | SparseVectors:
    """Return the vectors of a loaded model, by its class.

    Raises:
        UltraError: it gives no vectors of single texts, or was loaded as what it is not.
    """
    from sentence_transformers import SparseEncoder

    return (SparseVectors if isinstance(model, SparseEncoder) else DenseVectors)(model, name, batch_size)


def _sides(model: Any, first: Sequence[str], second: Sequence[str]) -> list[tuple[Any, Sequence[str]]]:
    """Return how each side of pairs is encoded: alike, unless the model routes queries and documents."""
    from sentence_transformers.base.modules import Router

    if any(isinstance(part, Router) for part in model.modules()):
        return [(model.encode_query, first), (model.encode_document, second)]
    return [(model.encode, first), (model.encode, second)]


def _unit(rows: csr_matrix) -> csr_matrix:
    from sklearn.preprocessing import normalize

    return normalize(rows, copy=False)
