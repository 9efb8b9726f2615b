"""The speed of an index of ``ultra-train index``: adding documents whose vectors are given, and searching.

    python benchmarks/search.py
    python benchmarks/search.py --documents 5000 20000 50000
    python benchmarks/search.py --to http://localhost:19530

Random documents: dense vectors of 384 dimensions; sparse ones of 120 active dimensions out of 30,000, drawn
so that a query of 24 dimensions and a document share two on average, which is the FLOPS of a trained SPLADE
model; texts of 60 words with the frequencies of Zipf's law. A sparse query has 24 active dimensions, as one
that a network expands, or 8, as an inference-free one. Each size is measured in a process of its own; only
the calls of the index are timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DIMENSIONS, VOCABULARY, ACTIVE, WORDS = 384, 30_000, 120, 60
QUERY_ACTIVE = {"sparse, 24 dimensions": 24, "sparse, 8 dimensions": 8}
BATCH = 512


class Texts:
    """Random texts and vectors."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        ranks = np.arange(1, VOCABULARY + 1)
        self.of_words, self.of_dimensions = (np.cumsum(ranks**-power) for power in (1.0, 0.75))

    def drawn(self, cumulative: np.ndarray, count: int) -> list[int]:
        return np.searchsorted(cumulative, self.random.random(count) * cumulative[-1]).tolist()

    def text(self, words: int = WORDS) -> str:
        return " ".join(f"word{number}" for number in self.drawn(self.of_words, words))

    def dense(self) -> list[float]:
        vector = self.random.standard_normal(DIMENSIONS).astype(np.float32)
        return (vector / np.linalg.norm(vector)).tolist()

    def sparse(self, active: int):
        from ultra_train.search.sparse_vectors import SparseVector

        found: dict[int, float] = {}
        while len(found) < active:
            for number in self.drawn(self.of_dimensions, active):
                if len(found) < active:
                    found[number] = float(self.random.random())
        return SparseVector.of(found)


def batches(count: int) -> Iterator[list]:
    from ultra_train.search.documents import Document
    from ultra_train.search.index import Entry

    texts = Texts(0)
    for first in range(0, count, BATCH):
        yield [
            Entry(Document(f"d{number}", "", texts.text()), texts.dense(), texts.sparse(ACTIVE))
            for number in range(first, min(first + BATCH, count))
        ]


def milliseconds(search, queries: list) -> float:
    """Return the median time of a search, after one that is not counted."""
    search(queries[0])
    times = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def measure(count: int, to: str, bm25: bool, rounds: int) -> dict[str, float]:
    """Build an index and search it; return documents a second, milliseconds, and MiB."""
    from ultra_train.search.index import create_index, open_index
    from ultra_train.search.manifest import EncoderRecord, IndexManifest
    from ultra_train.search.milvus import Connection
    from ultra_train.search.searcher import Searcher
    from ultra_train.system.memory import peak_resident

    manifest = IndexManifest(
        dense=EncoderRecord(
            kind="dense", model="random", fingerprint="0", dimension=DIMENSIONS, similarity="cosine"
        ),
        sparse=EncoderRecord(
            kind="sparse", model="random", fingerprint="0", dimension=VOCABULARY, similarity="dot"
        ),
        bm25=bm25,
    )
    figures: dict[str, float] = {"documents": count}
    name, spent = f"benchmark_{os.getpid()}", 0.0
    with Connection(to) as connection:
        index, _ = create_index(connection, manifest, name)
        for entries in batches(count):
            began = time.perf_counter()
            index.add(entries)
            spent += time.perf_counter() - began
        began = time.perf_counter()
        index.finish()
        spent += time.perf_counter() - began
        figures["documents/s"] = count / spent
    texts = Texts(1)
    began = time.perf_counter()
    with Connection(to) as connection:
        index = open_index(connection, name)
        figures["open, s"] = time.perf_counter() - began
        dense = [texts.dense() for _ in range(rounds)]
        figures["dense, ms"] = milliseconds(lambda query: index.nearest("dense", query, 10), dense)
        began = time.perf_counter()
        index.nearest("sparse", texts.sparse(8), 10)
        figures["first sparse, s"] = time.perf_counter() - began
        for title, active in QUERY_ACTIVE.items():
            sparse = [texts.sparse(active) for _ in range(rounds)]
            figures[f"{title}, ms"] = milliseconds(lambda query: index.nearest("sparse", query, 10), sparse)
        encoders = {"dense": lambda _: texts.dense(), "sparse": lambda _: texts.sparse(8)}
        searcher = Searcher(index, encoders)
        queries = [texts.text(6) for _ in range(rounds)]
        figures["hybrid dense + sparse, ms"] = milliseconds(
            lambda query: searcher.search(query, weights={"dense": 0.5, "sparse": 0.5}), queries
        )
        if bm25:
            figures["bm25, ms"] = milliseconds(lambda query: index.nearest("bm25", query, 10), queries)
            figures["hybrid of three, ms"] = milliseconds(searcher.search, queries)
        connection.client.drop_collection(name)
    figures["peak memory, MiB"] = (peak_resident() or 0) / 2**20
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", nargs="+", type=int, default=[20_000])
    parser.add_argument("--to", help="address of a Milvus server [a local index]")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        count, bm25, to = json.loads(options.one)
        print(json.dumps(measure(count, to, bm25, options.rounds)))
        return
    import harness

    for bm25 in (False, True):
        columns = []
        for count in options.documents:
            with tempfile.TemporaryDirectory() as folder:
                to = options.to or str(Path(folder) / "benchmark.db")
                words = [sys.executable, __file__, "--rounds", str(options.rounds)]
                done = subprocess.run(
                    [*words, "--one", json.dumps([count, bm25, to])],
                    check=True,
                    capture_output=True,
                    text=True,
                )
            columns.append(json.loads(done.stdout))
        header = ["with BM25" if bm25 else "without BM25", *(f"{each['documents']:,.0f}" for each in columns)]
        rows = [[key, *(f"{each[key]:,.4g}" for each in columns)] for key in columns[0] if key != "documents"]
        print(harness.table(header, rows), flush=True)
        print()


if __name__ == "__main__":
    main()
