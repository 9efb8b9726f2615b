"""Choosing the points of a long curve that are drawn."""

from __future__ import annotations

from itertools import pairwise

import attrs
import numpy as np
from numpy.typing import NDArray

BUCKETS = 600
"""Parts of a long curve; of each, the lowest and the highest point are drawn."""


@attrs.frozen
class Thinned:
    """The points of a curve that are drawn.

    Attributes:
        kept: their indices, ascending.
        mean: for each of them, the mean of the points that it stands for; the smoothed curve starts from it.
    """

    kept: NDArray[np.int64]
    mean: NDArray[np.float64]


def thin(values: NDArray[np.float64], buckets: int = BUCKETS) -> Thinned:
    """Choose the lowest and the highest point of every bucket, so that no spike is lost.

    The first and the last point are always drawn, and a curve with at most ``2 * buckets`` points is drawn
    whole.

    Args:
        values: the finite values of a curve, ``(N,)``.
        buckets: number of consecutive parts of nearly equal length.
    """
    count = len(values)
    if count <= 2 * buckets:
        return Thinned(np.arange(count), values)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    kept = {0, count - 1}
    for start, end in pairwise(edges.tolist()):
        part = values[start:end]
        kept.update((start + int(part.argmin()), start + int(part.argmax())))
    indices = np.array(sorted(kept), dtype=np.int64)
    means = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    return Thinned(indices, means[np.searchsorted(edges, indices, side="right") - 1])
