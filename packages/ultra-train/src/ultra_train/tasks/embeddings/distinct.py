"""Batches in which no text occurs twice, in whatever columns.

Losses that take the other texts of a batch as negatives would push a text away from itself.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_AT_ONCE = 100_000


def distinct_batches(order: Rows, ids: NDArray[np.int32], batch_size: int) -> tuple[Rows, Rows]:
    """Return the rows of batches without repeated texts, one batch after the other, and where each starts.

    Rows keep their order, except that one with a text of the present batch waits for a later one. So many of
    those that wait are tried for each batch as it has rows, so that the time does not grow with their number.
    What is left at the end forms smaller batches; a row that would be alone in one is left out, since there
    is nothing that it could be compared with.

    Args:
        order: (n,) the rows of an epoch in their order.
        ids: (rows, columns) numbers of their texts.
        batch_size: rows in a batch.

    Returns:
        (m,) rows with m <= n, and (batches + 1,) starts, the last of which is m.
    """
    times = np.bincount(ids.ravel())[ids]
    shared: NDArray[np.bool_] = np.max(times, axis=1) > 1
    if not shared[order].any():
        starts = np.append(np.arange(0, len(order), batch_size), len(order))
        return order, starts.astype(np.int64)
    filling = _Filling(batch_size)
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        texts = ids[part].tolist()
        for row, is_shared, own in zip(part.tolist(), shared[part].tolist(), texts, strict=True):
            filling.add(row, own if is_shared else ())
    filling.finish()
    return _without_single_rows(np.array(filling.rows, np.int64), np.array(filling.starts, np.int64))


def _without_single_rows(rows: Rows, starts: Rows) -> tuple[Rows, Rows]:
    sizes = np.diff(starts)
    if len(sizes) == 1 or sizes.min() > 1:
        return rows, starts
    kept = np.repeat(sizes > 1, sizes)
    return rows[kept], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])


class _Filling:
    """Fills one batch after the other."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.rows: list[int] = []
        self.starts: list[int] = [0]
        self._taken: set[int] = set()
        self._waiting: deque[tuple[int, list[int]]] = deque()

    def add(self, row: int, texts: list[int] | tuple[()]) -> None:
        """Put a row into the present batch, or let it wait."""
        if texts and not self._taken.isdisjoint(texts):
            self._waiting.append((row, texts))
            return
        self._place(row, texts)
        if self._full:
            self._close()
            self._place_waiting(self.batch_size)

    def finish(self) -> None:
        """Form batches of the rows that wait."""
        while self._waiting:
            self._place_waiting(4 * self.batch_size)
            self._close()
        if len(self.rows) > self.starts[-1]:
            self._close()

    @property
    def _full(self) -> bool:
        return len(self.rows) - self.starts[-1] == self.batch_size

    def _place(self, row: int, texts: list[int] | tuple[()]) -> None:
        self.rows.append(row)
        self._taken.update(texts)

    def _place_waiting(self, most: int) -> None:
        for _ in range(min(most, len(self._waiting))):
            row, texts = self._waiting.popleft()
            if self._taken.isdisjoint(texts):
                self._place(row, texts)
                if self._full:
                    return
            else:
                self._waiting.append((row, texts))

    def _close(self) -> None:
        self.starts.append(len(self.rows))
        self._taken.clear()
