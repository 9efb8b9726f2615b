"""The vectors of given texts, for files and comparisons rather than for an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import attrs
import numpy as np

from ultra_train.search.encoders import Encoder, EncodingOptions, ModelIdentity
from ultra_train.search.sparse_vectors import SparseVector
from ultra_train.search.vector_files import Precision, quantise, sparse_arrays, write_arrays
from ultra_train.system import files

TEXTS_AT_ONCE = 512


@attrs.frozen(eq=False)
class Encoding:
    """Vectors and what they belong to.

    Attributes:
        ids: what every vector belongs to.
        vectors: (texts, dimensions) in float32, or the sparse vector of every text.
        dimension: number of dimensions.
    """

    ids: Sequence[str]
    vectors: np.ndarray | list[SparseVector]
    dimension: int

    def json_lines(self, precision: Precision = "float32") -> Iterator[str]:
        """Yield an object for every text: its ``id`` and its ``vector``, or ``indices`` and ``values``."""
        if isinstance(self.vectors, np.ndarray):
            arrays = quantise(self.vectors, precision)
            rows: Iterator[dict[str, object]] = ({"vector": row.tolist()} for row in arrays["vectors"])
        else:
            rows = ({"indices": row.indices.tolist(), "values": row.values.tolist()} for row in self.vectors)
        for name, row in zip(self.ids, rows, strict=True):
            yield json.dumps({"id": name, **row}, ensure_ascii=False)

    def write(self, path: Path, precision: Precision = "float32") -> None:
        """Write the vectors to a file, completely or not at all; see ``vector_files``."""
        if path.suffix == ".jsonl":
            files.write_text(path, "".join(f"{line}\n" for line in self.json_lines(precision)))
        elif isinstance(self.vectors, np.ndarray):
            write_arrays(path, self.ids, quantise(self.vectors, precision))
        else:
            write_arrays(path, self.ids, sparse_arrays(self.vectors, self.dimension))


def encode_texts(
    identity: ModelIdentity,
    named: Sequence[tuple[str, str]],
    options: EncodingOptions,
    *,
    query: bool = False,
) -> Encoding:
    """Load a model and encode texts.

    Args:
        identity: the model.
        named: ids and texts, at least one.
        options: how texts are encoded.
        query: whether they are queries rather than documents.
    """
    encoder = Encoder(identity, options)
    texts = [text for _, text in named]
    parts = [
        encoder.encode(texts[first : first + TEXTS_AT_ONCE], query=query)
        for first in range(0, len(texts), TEXTS_AT_ONCE)
    ]
    dense = [part for part in parts if isinstance(part, np.ndarray)]
    sparse = chain.from_iterable(part for part in parts if isinstance(part, list))
    return Encoding(
        ids=[name for name, _ in named],
        vectors=np.concatenate(dense) if dense else list(sparse),
        dimension=encoder.record.dimension,
    )


def similarities(
    identity: ModelIdentity, texts: Sequence[str], options: EncodingOptions
) -> list[list[float]]:
    """Load a model and return the similarity of every text to every other, as the model defines it.

    Args:
        identity: the model.
        texts: the texts, which are encoded as documents.
        options: how texts are encoded.
    """
    encoder = Encoder(identity, options)
    model = encoder.model
    embeddings = model.encode_document(list(texts), convert_to_tensor=True, show_progress_bar=False)
    found: list[list[float]] = model.similarity(embeddings, embeddings).float().cpu().tolist()
    return found
