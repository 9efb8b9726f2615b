"""Grouping the documents of an epoch into batches: by length, or packed into rows.

Both are deterministic functions of the order in which the documents are given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class BatchLayout(NamedTuple):
    """The batches of an epoch.

    Attributes:
        draws: (n,) the documents, by batch and row.
        rows: (n,) row of each document, numbered over the whole epoch, ascending.
        starts: (batches + 1,) index in ``draws`` at which each batch begins.
        padding: share of the positions that hold no real token.
        order: (batches,) the batches in the order of the epoch.
    """

    draws: Integers
    rows: Integers
    starts: Integers
    padding: float
    order: Integers

    @property
    def num_batches(self) -> int:
        """Number of batches of the epoch."""
        return len(self.starts) - 1


_NONE = np.zeros(0, dtype=np.int64)
NO_BATCHES = BatchLayout(_NONE, _NONE, np.zeros(1, dtype=np.int64), 0.0, _NONE)
"""The layout of an epoch that shows no document, since all weights are small."""


def by_length(draws: Integers, lengths: NDArray[np.int32], *, tokens_per_batch: int) -> BatchLayout:
    """Group documents of similar length, one per row, with about ``tokens_per_batch`` real tokens per batch.

    Documents of equal length form as many full batches without padding as possible. The remaining documents
    are sorted by length and cut where the running sum of tokens passes a multiple of the budget, so that the
    rows of such a batch have nearly the same length. The size of a batch differs from the budget by less than
    one document, and every document is in exactly one batch.

    Args:
        draws: (n,) documents; their order decides which documents of equal length share a batch.
        lengths: (n,) number of tokens of each document.
        tokens_per_batch: number of real tokens per batch to aim for.
    """
    by = np.argsort(lengths, kind="stable")
    draws, lengths = draws[by], lengths[by].astype(np.int64)
    found, counts = np.unique(lengths, return_counts=True)
    size = np.maximum(1, np.rint(tokens_per_batch / found)).astype(np.int64)
    inside = np.arange(len(draws)) - np.repeat(np.cumsum(counts) - counts, counts)
    full = inside < np.repeat(counts // size * size, counts)

    dense = np.repeat(size, counts // size)
    rest = lengths[~full]
    running = np.cumsum(rest)
    pieces = max(1, round(int(running[-1]) / tokens_per_batch)) if len(rest) else 0
    batch_of = (running - rest / 2) * pieces // (running[-1] if len(rest) else 1)
    mixed = np.unique(batch_of, return_counts=True)[1]

    draws = np.concatenate([draws[full], draws[~full]])
    ordered = np.concatenate([lengths[full], rest])
    starts = np.concatenate([[0], np.cumsum(np.concatenate([dense, mixed]))]).astype(np.int64)
    # lengths ascend within a batch, so its last document is its longest
    positions = int((np.diff(starts) * ordered[starts[1:] - 1]).sum())
    padding = 1 - int(ordered.sum()) / positions
    return BatchLayout(draws, np.arange(len(draws)), starts, padding, np.arange(len(starts) - 1))


def packed(
    draws: Integers, lengths: NDArray[np.int32], *, max_length: int, rows_per_batch: int
) -> BatchLayout:
    """Pack documents into rows of ``max_length`` tokens (best fit decreasing), and rows into batches.

    Which lengths share a row is decided on the histogram of lengths, so this work does not grow with the
    number of documents (Krell et al. 2021, arXiv:2107.02027). Which document of a length is put where follows
    from the order of the documents.

    Args:
        draws: (n,) documents; their order decides where documents of equal length are put, and the order of
            the rows.
        lengths: (n,) number of tokens of each document.
        max_length: length of a row in tokens.
        rows_per_batch: number of rows per batch.
    """
    by = np.argsort(lengths, kind="stable")
    sorted_draws = draws[by]
    found, counts = np.unique(lengths, return_counts=True)
    first = dict(zip(found.tolist(), (np.cumsum(counts) - counts).tolist(), strict=True))
    columns: list[Integers] = []
    row_ids: list[Integers] = []
    num_rows = 0
    for recipe, times in _recipes(found, counts, max_length):
        for length in recipe:
            columns.append(sorted_draws[first[length] : first[length] + times])
            row_ids.append(np.arange(num_rows, num_rows + times))
            first[length] += times
        num_rows += times
    members, rows = np.concatenate(columns), np.concatenate(row_ids)

    # The rows are sorted by recipe now; sort them by the first of their documents in the order given.
    place = np.empty(int(draws.max()) + 1, dtype=np.int64)
    place[draws] = np.arange(len(draws))
    earliest = np.full(num_rows, len(draws))
    np.minimum.at(earliest, rows, place[members])
    rank = np.empty(num_rows, dtype=np.int64)
    rank[np.argsort(earliest, kind="stable")] = np.arange(num_rows)
    order = np.argsort(rank[rows], kind="stable")
    members, rows = members[order], rank[rows][order]

    edges = np.append(np.arange(0, num_rows, rows_per_batch), num_rows)
    starts = np.searchsorted(rows, edges)
    padding = 1 - int(lengths.sum(dtype=np.int64)) / (num_rows * max_length)
    return BatchLayout(members, rows, starts, padding, np.arange(len(starts) - 1))


def _recipes(
    found: NDArray[np.int32], counts: Integers, max_length: int
) -> list[tuple[tuple[int, ...], int]]:
    """Return the recipes of all rows: (lengths of the documents in a row, number of such rows)."""
    open_rows: dict[int, list[tuple[tuple[int, ...], int]]] = {max_length: []}
    done: list[tuple[tuple[int, ...], int]] = []
    for length, count in zip(found.tolist()[::-1], counts.tolist()[::-1], strict=True):
        left = count
        while left:
            room = min(
                (space for space, rows in open_rows.items() if space >= length and rows), default=max_length
            )
            rows = open_rows.get(room)
            if rows:
                recipe, times = rows.pop()
                copies, used = 1, min(times, left)
                if times > used:
                    rows.append((recipe, times - used))
            else:  # a new row takes as many documents of this length as fit
                copies = min(left, max_length // length)
                recipe, used = (), left // copies
            rest = room - copies * length
            target = open_rows.setdefault(rest, []) if rest else done
            target.append((recipe + copies * (length,), used))
            left -= copies * used
    return done + [row for rows in open_rows.values() for row in rows]
