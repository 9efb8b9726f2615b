"""Exact sparse scoring: the inverted index of ultra beside the semantic search of sentence-transformers.

Documents and queries are drawn with the density of SPLADE: 200 active dimensions a document, 20 to 40 a
query, and dimensions as uneven as words (the most frequent ones are active in half of the documents). Both
sides return the 100 best documents of each query and are checked against each other. The figures are medians
of milliseconds a query::

    python benchmarks/sparse_scoring.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import interleave, matmul_rate, median, spread, table
from scipy.sparse import csr_matrix
from sentence_transformers.util import dot_score, semantic_search

from ultra_train.retrieval.scoring import InvertedIndex


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--vocabulary", type=int, default=30_522)
    parser.add_argument("--active", type=int, default=200, help="active dimensions of a document")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--k", type=int, default=100, help="documents that are returned")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    shares = frequencies(options.vocabulary, options.active)
    documents = drawn(random, options.documents, shares)
    queries = drawn_queries(random, options.queries, shares)
    start = time.perf_counter()
    index = InvertedIndex(documents)
    build = time.perf_counter() - start
    tensors = as_tensor(queries), as_tensor(documents)
    postings = sum(documents.getnnz(axis=0)[row.indices].sum() for row in queries) / options.queries
    check(index, queries, tensors, options.k)

    figures = interleave(
        {
            "ultra, one query after the other": timed(
                lambda: [index.search(queries[number], options.k) for number in range(options.queries)],
                options.queries,
            ),
            "ultra, all queries at once": timed(lambda: index.search(queries, options.k), options.queries),
            "sentence-transformers, all queries at once": timed(
                partial(semantic_search, *tensors, top_k=options.k, score_function=dot_score), options.queries
            ),
        },
        options.rounds,
    )
    print(f"fp32 matrix products: {matmul_rate() / 1e9:.1f} G multiply-adds a second")
    print(
        f"{options.documents:,} documents x {documents.nnz / options.documents:.0f} active of "
        f"{options.vocabulary:,}; {queries.nnz / options.queries:.0f} active a query, which read "
        f"{postings:,.0f} entries; index {index.nbytes / 1e6:.0f} MB, built in {build:.1f} s"
    )
    peer = median(figures["sentence-transformers, all queries at once"])
    rows = [
        [name, f"{median(values):.2f}", spread(values), f"{peer / median(values):.1f}"]
        for name, values in figures.items()
    ]
    print(table(["side", "ms a query", "spread", "times as fast as the peer"], rows))


def frequencies(vocabulary: int, active: int) -> np.ndarray:
    """Return the share of documents in which each dimension is active ``(V,)``: Zipf's law up to a half."""
    shares = 1 / np.arange(1, vocabulary + 1) ** 0.8
    for _ in range(50):
        free = shares < 0.5
        shares = np.where(free, shares * (active - 0.5 * (~free).sum()) / shares[free].sum(), 0.5)
        shares = np.minimum(shares, 0.5)
    return shares


def drawn(random: np.random.Generator, documents: int, shares: np.ndarray) -> csr_matrix:
    """Return vectors of documents ``(N, V)`` in which each dimension is active by its share."""
    counts = random.binomial(documents, shares)
    rows = np.concatenate([random.choice(documents, count, replace=False, shuffle=False) for count in counts])
    columns = np.repeat(np.arange(len(shares)), counts)
    weights = random.exponential(0.5, len(rows)).astype(np.float32)
    return csr_matrix((weights, (rows, columns)), shape=(documents, len(shares)))


def drawn_queries(random: np.random.Generator, queries: int, shares: np.ndarray) -> csr_matrix:
    """Return vectors of queries ``(Q, V)``, with the dimensions of documents as they occur there."""
    sizes = random.integers(20, 41, queries)
    chosen = [random.choice(len(shares), n, replace=False, p=shares / shares.sum()) for n in sizes]
    columns, rows = np.concatenate(chosen), np.repeat(np.arange(queries), sizes)
    weights = random.exponential(0.5, len(columns)).astype(np.float32)
    return csr_matrix((weights, (rows, columns)), shape=(queries, len(shares)))


def as_tensor(rows: csr_matrix) -> torch.Tensor:
    """Return sparse vectors as ``SparseEncoder.encode`` returns them."""
    found = rows.tocoo()
    places = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(found.data), found.shape, check_invariants=False
    ).coalesce()


def check(index: InvertedIndex, queries: csr_matrix, tensors: tuple[torch.Tensor, ...], k: int) -> None:
    """Compare the scores of both sides."""
    found = index.search(queries, k)
    for number, hits in enumerate(semantic_search(*tensors, top_k=k, score_function=dot_score)):
        scores = [hit["score"] for hit in hits]
        np.testing.assert_allclose(found.scores[number], scores, rtol=1e-4, err_msg=f"query {number}")


def timed(run: Callable[[], object], queries: int) -> Callable[[], float]:
    """Return a function that runs a side and returns milliseconds a query."""

    def side() -> float:
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start) / queries

    return side


if __name__ == "__main__":
    main()
