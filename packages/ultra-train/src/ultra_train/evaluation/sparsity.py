"""How sparse the vectors of a sparse encoder are, and what searching with them takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FREQUENT = 20
"""How many of the most frequent dimensions are named."""


@attrs.frozen(kw_only=True)
class Activity:
    """The active dimensions of the vectors of some texts: those that are not zero.

    Attributes:
        mean: their mean number.
        median: their median number.
        most: their largest number.
        zeros: share of the entries that are zero, from 0 to 1.
        empty: texts without any active dimension, which no search finds.
        used: dimensions that are active for at least one text.
        flops: the FLOPS regulariser ``sum_v mean(|w_v|)^2`` (Paria et al., 2020).
        frequent: the dimensions that are active most often, with the share of the texts.
    """

    mean: float
    median: float
    most: int
    zeros: float
    empty: int
    used: int
    flops: float
    frequent: Sequence[tuple[str, float]]


@attrs.frozen(kw_only=True)
class Sparsity:
    """The sparsity of a model on a collection.

    Attributes:
        dimensions: length of the vectors.
        queries: the vectors of the queries.
        documents: the vectors of the documents.
        multiplications: expected number of multiplications for one query and one document,
            ``sum_v p_v q_v`` with the shares of queries and documents in which a dimension is active; the
            papers on SPLADE call it FLOPS.
    """

    dimensions: int
    queries: Activity
    documents: Activity
    multiplications: float


def sparsity_of(queries: csr_matrix, documents: csr_matrix, tokenizer: Any = None) -> Sparsity:
    """Return how sparse the vectors of queries ``(Q, V)`` and documents ``(N, V)`` are.

    Args:
        queries: vectors of queries.
        documents: vectors of documents.
        tokenizer: names the dimensions where each stands for a token.
    """
    shares = [_shares(rows) for rows in (queries, documents)]
    return Sparsity(
        dimensions=int(documents.shape[1]),
        queries=_activity(queries, tokenizer),
        documents=_activity(documents, tokenizer),
        multiplications=float(shares[0] @ shares[1]),
    )


def _shares(rows: csr_matrix) -> np.ndarray:
    """Return the share of the vectors in which each dimension is active ``(V,)``."""
    return np.bincount(rows.indices, minlength=rows.shape[1]) / rows.shape[0]


def _activity(rows: csr_matrix, tokenizer: Any) -> Activity:
    active = np.diff(rows.indptr)
    shares = _shares(rows)
    most = np.argsort(-shares, kind="stable")[:FREQUENT]
    return Activity(
        mean=float(active.mean()),
        median=float(np.median(active)),
        most=int(active.max()),
        zeros=1 - rows.nnz / (rows.shape[0] * rows.shape[1]),
        empty=int((active == 0).sum()),
        used=int((shares > 0).sum()),
        flops=float((np.asarray(abs(rows).mean(axis=0)) ** 2).sum()),
        frequent=[
            (_named(int(number), rows.shape[1], tokenizer), float(shares[number]))
            for number in most
            if shares[number] > 0
        ],
    )


def _named(dimension: int, dimensions: int, tokenizer: Any) -> str:
    if tokenizer is None or len(tokenizer) > dimensions or dimension >= len(tokenizer):
        return f"#{dimension}"
    return str(tokenizer.convert_ids_to_tokens(dimension))
