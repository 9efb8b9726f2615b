"""Similarity scores of training rows: drawn evenly over their range, or standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

_BINS = 512


def even_weights(scores: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return how often rows are to be drawn so that their scores are spread evenly: (rows,).

    The weight of a row is one over the density of scores at its own, estimated with a Gaussian kernel.

    Args:
        scores: (rows,) the scores.
        width: standard deviation of the kernel, in the unit of the scores.
    """
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.ones(len(scores))
    counts, edges = np.histogram(scores, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    distances = (middles[:, None] - middles[None, :]) / width
    density = np.exp(-(distances**2) / 2) @ counts
    bins = np.minimum(((scores - low) / (high - low) * _BINS).astype(np.int64), _BINS - 1)
    weights: NDArray[np.float64] = 1 / density[bins]
    return weights / weights.mean()


def standardized(
    train: Dataset, held_out: Dataset | None, column: str = "score"
) -> tuple[Dataset, Dataset | None]:
    """Return both with scores of mean 0 and deviation 1, as measured on the training rows."""
    scores = np.asarray(train[column], np.float64)
    mean, deviation = float(scores.mean()), float(scores.std()) or 1.0

    def with_scores(rows: Dataset) -> Dataset:
        values = (np.asarray(rows[column], np.float64) - mean) / deviation
        return rows.remove_columns(column).add_column(column, values.tolist())

    return with_scores(train), None if held_out is None else with_scores(held_out)
