"""Dividing the rows of a data set into train, dev and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ultra_train.data.errors import DataError
from ultra_train.data.hashing import Hashes, combine, text_hash

if TYPE_CHECKING:
    from datasets import Dataset

SplitRatio = float | tuple[float, float, float]
NO_SPLIT = -1


def shares_of(ratio: SplitRatio) -> tuple[float, float, float]:
    """Return the shares of train, dev and test; one number is that of train, and the rest is dev.

    Raises:
        DataError: a share is not a number from 0 to 1, that of train is 0, or their sum is not 1.
    """
    shares = ratio if isinstance(ratio, tuple) else (ratio, 1 - ratio, 0.0)
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or shares[0] == 0:
        raise DataError(
            f"split_ratio is {ratio}; give the share of train, such as 0.9, or those of train, dev and test."
        )
    if abs(sum(shares) - 1) > 1e-6:
        raise DataError(f"split_ratio is {ratio}; the shares of train, dev and test must add up to 1.")
    return shares


def divide(groups: Hashes, ratio: SplitRatio, seed: int) -> NDArray[np.int8]:
    """Return the split of each row, as an index of ``SPLITS``; rows of a group are in the same split.

    The groups are put in an order that depends on their hashes and the seed alone, and cut by the shares. A
    share above 0 gets at least one group.

    Args:
        groups: hash of each row's group, ``(rows,)``.
        ratio: the share of train, or those of train, dev and test.
        seed: seed of the order.

    Raises:
        DataError: the shares are no shares, or there are fewer groups than splits.
    """
    shares = shares_of(ratio)
    distinct, index = np.unique(groups, return_inverse=True)
    wanted = sum(share > 0 for share in shares)
    if len(distinct) < wanted:
        raise DataError(
            f"the rows have only {len(distinct):,} different first texts, which split_ratio cannot divide "
            f"into {wanted} parts."
        )
    counts = [max(1, round(len(distinct) * share)) if share > 0 else 0 for share in shares[1:]]
    while sum(counts) >= len(distinct):
        counts[counts.index(max(counts))] -= 1
    split = np.zeros(len(distinct), np.int8)
    order = np.argsort(combine(seed, distinct), kind="stable")
    end = len(distinct)
    for number, count in zip((2, 1), reversed(counts), strict=True):
        split[order[end - count : end]] = number
        end -= count
    return split[index.reshape(-1)]


def hold_out(rows: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return the rows to train on and those held out; rows with the same first column stay together.

    Args:
        rows: the rows, whose first column holds texts or lists of words.
        share: share of the rows that is held out.
        seed: seed of the choice.
    """
    first = rows[rows.column_names[0]]
    texts = (text if isinstance(text, str) else " ".join(text) for text in first)
    part = divide(np.fromiter(map(text_hash, texts), np.uint64, len(rows)), 1 - share, seed)
    return rows.select(np.flatnonzero(part == 0)), rows.select(np.flatnonzero(part == 1))
