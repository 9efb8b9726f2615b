"""The few widths to which rows are padded, so that a compiled model sees few shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_WIDTHS = 8
"""Number of widths; each costs a compilation of the model."""
_GRID = 256
"""Number of widths to choose from."""


def row_widths(lengths: NDArray[np.integer], max_length: int, *, most: int = MOST_WIDTHS) -> tuple[int, ...]:
    """Return the widths that need the least padding for documents of these lengths, in ascending order.

    Widths are multiples of 8, except the last, which is ``max_length``. Rows are shorter than their width
    where it is below ``max_length``, so that batches of one width do not differ in whether they have padding.

    The choice minimises the sum of the widths of all documents, by dynamic programming over the borders.

    Args:
        lengths: (n,) numbers of tokens of the documents, at most ``max_length``.
        max_length: greatest length of a row.
        most: greatest number of widths.
    """
    step = 8 * max(1, -(-max_length // (8 * _GRID)))
    grid = np.append(np.arange(step, max_length, step), max_length)
    place = np.minimum(np.searchsorted(grid, lengths, side="right"), len(grid) - 1)
    below = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(grid)))])
    # cost[i, j]: positions of the documents that lie between grid[i - 1] and grid[j], all padded to grid[j]
    cost = np.where(
        np.tri(len(grid), dtype=bool).T, grid[None, :] * (below[None, 1:] - below[:-1, None]), np.inf
    )
    best, chosen = cost[0], [np.zeros(len(grid), dtype=np.int64)]
    for _ in range(min(most, len(grid)) - 1):
        options = np.concatenate([cost[:1], best[:-1, None] + cost[1:]])
        chosen.append(options.argmin(0))
        best = options.min(0)
    widths, last = [], len(grid) - 1
    for starts in reversed(chosen):
        widths.append(int(grid[last]))
        last = int(starts[last]) - 1
        if last < 0:
            break
    return tuple(sorted(widths))
