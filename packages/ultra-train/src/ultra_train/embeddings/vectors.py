"""Smaller dense vectors: truncated (Matryoshka), or quantised to bytes or bits, and search among them."""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_train.embeddings.errors import EncoderError

Precision = Literal["int8", "binary"]
Floats = NDArray[np.float32]
_BLOCK = 4_096
"""Documents that are unpacked at a time."""


def truncated(vectors: Floats, width: int) -> Floats:
    """Return the first ``width`` numbers of every vector, scaled to length 1.

    It pays for vectors that were trained for it, with ``MatryoshkaLoss``.

    Args:
        vectors: ``(N, D)``.
        width: numbers that are kept.

    Raises:
        EncoderError: the vectors have fewer.

    Paper: Kusupati et al. 2022, "Matryoshka Representation Learning", arXiv:2205.13147.
    """
    from sentence_transformers.util import normalize_embeddings, truncate_embeddings

    if not 0 < width <= vectors.shape[1]:
        raise EncoderError(f"vectors of {vectors.shape[1]} numbers cannot be truncated to {width}")
    import torch

    kept = torch.from_numpy(np.ascontiguousarray(truncate_embeddings(vectors, width)))
    found: Floats = normalize_embeddings(kept).numpy()
    return found


@attrs.frozen(eq=False)
class QuantisedVectors:
    """Dense vectors in a byte or a bit per number.

    Attributes:
        precision: ``int8``, or ``binary``: the sign.
        codes: ``(N, D)`` int8, or ``(N, ceil(D / 8))`` uint8 with a bit for every number.
        ranges: ``(2, D)``, least and greatest value of every dimension, which ``int8`` divides into 255
            steps; None for bits.
        width: D.
    """

    precision: Precision
    codes: NDArray[np.int8] | NDArray[np.uint8]
    ranges: Floats | None
    width: int

    @classmethod
    def of(cls, vectors: Floats, precision: Precision, ranges: Floats | None = None) -> QuantisedVectors:
        """Quantise vectors.

        Args:
            vectors: ``(N, D)``.
            precision: what to.
            ranges: ``(2, D)``, of other vectors of the same model; None: those of these vectors. Values
                beyond them become the nearest step.
        """
        from sentence_transformers.util import quantize_embeddings

        if precision == "binary":
            return cls(precision, np.asarray(quantize_embeddings(vectors, "ubinary")), None, vectors.shape[1])
        if ranges is None:
            ranges = np.stack([vectors.min(0), vectors.max(0)])
        ranges = np.stack([ranges[0], np.maximum(ranges[1], ranges[0] + _LEAST)])
        codes = quantize_embeddings(np.clip(vectors, *ranges), "int8", ranges=ranges)
        return cls(precision, np.asarray(codes), ranges, vectors.shape[1])

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.codes)

    def restored(self, rows: NDArray[np.int64] | slice) -> Floats:
        """Return the vectors of some rows ``(M, D)``: the middles of the steps, or the signs -1 and 1."""
        codes = self.codes[rows]
        if self.ranges is None:
            bits = np.unpackbits(codes.astype(np.uint8), axis=1)[:, : self.width]
            return bits.astype(np.float32) * 2 - 1
        steps = (self.ranges[1] - self.ranges[0]) / 255
        found: Floats = ((codes.astype(np.float32) + 128.5) * steps + self.ranges[0]).astype(np.float32)
        return found

    def nearest(
        self, queries: Floats, k: int, *, oversample: int = 4, exact: Floats | None = None
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return the rows with the greatest inner products, best first, and these products.

        With ``binary``, ``k * oversample`` candidates are those that differ from the signs of the query in
        the fewest bits, and the products of the query itself with them decide. With ``exact``, candidates of
        either precision are scored by those vectors.

        Args:
            queries: ``(Q, D)``, not quantised.
            k: rows for each query; fewer if there are fewer vectors.
            oversample: candidates for each of them.
            exact: ``(N, D)``, the vectors before they were quantised, such as a memory-mapped array.

        Returns:
            rows ``(Q, k)`` and scores ``(Q, k)``.
        """
        k = min(k, len(self))
        count = min(len(self), k if exact is None and self.precision == "int8" else k * oversample)
        rows, scores = [], []
        for query in queries:
            candidates = _largest(self._rough(query), count)
            found = self.restored(candidates) if exact is None else np.asarray(exact[candidates])
            products = found @ query
            best = np.argsort(-products, kind="stable")[:k]
            rows.append(candidates[best])
            scores.append(products[best])
        return np.stack(rows), np.stack(scores).astype(np.float32)

    def _rough(self, query: Floats) -> Floats:
        """Return a score of every vector ``(N,)`` that orders candidates."""
        if self.ranges is None:
            own = np.packbits(query > 0)
            differing = np.bitwise_count(self.codes.astype(np.uint8) ^ own)
            return -differing.sum(1, dtype=np.int32).astype(np.float32)
        blocks = range(0, len(self), _BLOCK)
        return np.concatenate([self.restored(slice(start, start + _BLOCK)) @ query for start in blocks])


_LEAST = np.float32(1e-12)
"""Least width of a range, for dimensions that are the same in all vectors."""


def _largest(scores: Floats, count: int) -> NDArray[np.int64]:
    """Return the indices of the ``count`` largest scores, in their order in memory."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.sort(np.argpartition(-scores, count - 1)[:count])
