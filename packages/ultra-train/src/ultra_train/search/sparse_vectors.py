"""Sparse vectors: the dimensions that are not zero, and their values."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch


class SparseVector(NamedTuple):
    """A sparse vector.

    Attributes:
        indices: (active,) the dimensions that are not zero, in int32.
        values: (active,) their values, in float32.
    """

    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, values: dict[int, float]) -> SparseVector:
        """Return the vector with these values by dimension."""
        return cls(np.array(list(values), np.int32), np.array(list(values.values()), np.float32))

    def by_dimension(self) -> dict[int, float]:
        """Return the values by dimension."""
        return dict(zip(self.indices.tolist(), self.values.tolist(), strict=True))


def rows_of(embeddings: torch.Tensor, *, unit: bool = False) -> list[SparseVector]:
    """Return the rows of a sparse tensor.

    Args:
        embeddings: (texts, vocabulary), a sparse tensor in coordinate form.
        unit: scale every row to length 1.
    """
    embeddings = embeddings.coalesce()
    rows, columns = embeddings.indices().numpy()
    values = embeddings.values().float().numpy()
    if unit:
        lengths = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=embeddings.shape[0]))
        values = (values / lengths[rows]).astype(np.float32)
    ends = np.searchsorted(rows, np.arange(embeddings.shape[0] + 1))
    columns = columns.astype(np.int32)
    return [SparseVector(columns[begin:end], values[begin:end]) for begin, end in pairwise(ends)]
