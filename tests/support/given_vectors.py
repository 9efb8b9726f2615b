"""An index whose vectors are given instead of computed, so that no model is loaded."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from ultra_train.search.building import build
from ultra_train.search.documents import Document
from ultra_train.search.index import create_index
from ultra_train.search.manifest import EncoderRecord, IndexManifest
from ultra_train.search.milvus import Connection
from ultra_train.search.sparse_vectors import SparseVector

DIMENSION = 4
DENSE = EncoderRecord(kind="dense", model="d", fingerprint="f1", dimension=DIMENSION, similarity="cosine")
SPARSE = EncoderRecord(kind="sparse", model="s", fingerprint="f2", dimension=64, similarity="dot")
MANIFEST = IndexManifest(dense=DENSE, sparse=SPARSE, bm25=True)

DOCUMENTS = [
    Document("a'b", "Luz", "enciende la luz del jardín"),
    Document('say "x"', "", "abre la puerta del garaje, que está cerrada"),
    Document("back\\slash", "", "cierra la ventana del baño"),
    Document("d€", "Perro", "el perro duerme"),
]
"""Documents whose ids have the characters that expressions of Milvus quote."""


class Dense:
    """Gives the vector of a text by its length; counts the texts, and kills the process at one of them."""

    def __init__(self, die_at: int | None = None) -> None:
        self.encoded: list[str] = []
        self.die_at = die_at

    def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return vectors of length 1."""
        self.encoded += texts
        if self.die_at is not None and len(self.encoded) >= self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return [self(text) for text in texts]

    def __call__(self, text: str) -> list[float]:
        """Return the vector of a query: the unit vector of the length of the text."""
        return [float(number == len(text) % DIMENSION) for number in range(DIMENSION)]


class Sparse:
    """Gives a text the weight 1 at the dimension of each of its letters."""

    def documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return sparse vectors."""
        return [self(text) for text in texts]

    def __call__(self, text: str) -> SparseVector:
        """Return the vector of a query."""
        return SparseVector.of(dict.fromkeys(sorted(letters(text)), 1.0))


def letters(text: str) -> set[int]:
    """Return the numbers of the letters of a text."""
    return {ord(letter) - 96 for letter in text.lower() if "a" <= letter <= "z"}


def documents(count: int) -> list[Document]:
    """Return documents with different texts."""
    return [Document(f"d{number}", "", f"texto número {number}") for number in range(count)]


def build_until(path: Path, count: int, die_at: int | None) -> Dense:
    """Build an index in batches of ten documents; the process may die on the way."""
    with Connection(str(path)) as connection:
        index, new = create_index(connection, MANIFEST)
        dense = Dense(die_at)
        encoders = {"dense": dense, "sparse": Sparse()}
        build(index, documents(count), encoders, empty=new, batch=10)  # type: ignore[arg-type]
        return dense
