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


def manifest(bm25: bool):
    from ultra_train.search.manifest import EncoderRecord, IndexManifest

    given = {"model": "random", "fingerprint": "0"}
    return IndexManifest(
        dense=EncoderRecord(kind="dense", dimension=DIMENSIONS, similarity="cosine", **given),
        sparse=EncoderRecord(kind="sparse", dimension=VOCABULARY, similarity="dot", **given),
        bm25=bm25,
    )


def batches(count: int) -> Iterator[list]:
    from ultra_train.search.documents import Document
    from ultra_train.search.index import Entry

    texts = Texts(0)
    for first in range(0, count, BATCH):
        yield [
            Entry(Document(f"d{number}", "", texts.text()), texts.dense(), texts.sparse(ACTIVE))
            for number in range(first, min(first + BATCH, count))
        ]


class Clock:
    """Wall time and processor time of what is done in it; the embedded index works in the same process."""

    def __enter__(self) -> Clock:
        self.wall, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.processor = time.perf_counter() - self.wall, time.process_time() - self.processor


def searches(title: str, search, queries: list) -> dict[str, float]:
    """Return the median wall time and the least processor time of a search, after one that is not counted."""
    search(queries[0])
    clocks = [Clock() for _ in queries]
    for clock, query in zip(clocks, queries, strict=True):
        with clock:
            search(query)
    return {
        f"{title}, ms": 1000 * float(np.median([clock.wall for clock in clocks])),
        f"{title}, processor ms": 1000 * min(clock.processor for clock in clocks),
    }


def measure(count: int, to: str, bm25: bool, rounds: int) -> dict[str, float]:
    """Build an index and search it; return documents a second, milliseconds, and MiB."""
    from ultra_train.search.index import create_index, open_index
    from ultra_train.search.milvus import Connection
    from ultra_train.search.searcher import Searcher
    from ultra_train.system.memory import peak_resident

    figures: dict[str, float] = {"documents": count}
    name, adding = f"benchmark_{os.getpid()}", []
    with Connection(to) as connection:
        index, _ = create_index(connection, manifest(bm25), name)
        for entries in batches(count):
            with Clock() as clock:
                index.add(entries)
            adding.append(clock)
        with Clock() as writing:
            index.finish()
        figures["documents/s"] = count / (sum(clock.wall for clock in adding) + writing.wall)
        least = min(clock.processor for clock in adding[:-1]) / BATCH + writing.processor / count
        figures["documents/processor s"] = 1 / least
    texts = Texts(1)
    dense = [texts.dense() for _ in range(rounds)]
    sparse = {title: [texts.sparse(active) for _ in range(rounds)] for title, active in QUERY_ACTIVE.items()}
    words = [texts.text(6) for _ in range(rounds)]
    given = {"dense": iter(dense * 9).__next__, "sparse": iter(sparse["sparse, 8 dimensions"] * 9).__next__}
    with Clock() as opening:
        connection = Connection(to)
        index = open_index(connection, name)
    with connection:
        searcher = Searcher(
            index, {kind: lambda _, vector=vector: vector() for kind, vector in given.items()}
        )
        with Clock() as first:
            searcher.search(words[0])
        figures |= {
            "open, s": opening.wall,
            "first search, s": first.wall,
            "first, processor s": first.processor,
        }
        figures |= searches("dense", lambda query: index.nearest("dense", query, 10), dense)
        for title, queries in sparse.items():
            figures |= searches(title, lambda query: index.nearest("sparse", query, 10), queries)
        if bm25:
            figures |= searches("bm25", lambda query: index.nearest("bm25", query, 10), words)
        figures |= searches("hybrid of all", searcher.search, words)
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
