"""Which rows of which data set form which batch: a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_train.data.errors import DataError
from ultra_train.tasks.embeddings.distinct import distinct_batches

Strategy = Literal["proportional", "round_robin"]
"""How the batches of several data sets follow each other.

``proportional``: at random, all of every data set. ``round_robin``: in turns, until the data set with the
fewest batches has none left; every epoch has other rows of the larger ones.
"""


class PairBatch(NamedTuple):
    """The rows of one batch, all of one data set.

    Attributes:
        dataset: number of the data set.
        rows: (n,) its rows.
    """

    dataset: int
    rows: NDArray[np.int64]


@attrs.frozen(eq=False)
class PlannedRows:
    """What the plan knows of a data set.

    Attributes:
        count: number of rows.
        fingerprint: what identifies them.
        ids: (rows, columns) numbers of the texts, if no text may be twice in a batch; else None.
        weights: (rows,) how often a row is drawn, in proportion; None if an epoch has every row once.
    """

    count: int
    fingerprint: str
    ids: NDArray[np.int32] | None = None
    weights: NDArray[np.float64] | None = None


class _Epoch(NamedTuple):
    """The batches of an epoch: of each its data set, and the batch's number in that."""

    datasets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]
    starts: tuple[NDArray[np.int64], ...]


class PairPlan:
    """The order of every epoch over one or several data sets.

    Every epoch is shuffled anew: the rows of each data set, and the turns of the data sets.

    Args:
        sets: the data sets.
        batch_size: rows in a batch; the last one of a data set may have fewer.
        seed: seed of the order.
        strategy: how the batches of several data sets follow each other.
        shuffle: False for evaluation, which has the rows in their order, one data set after the other.

    Raises:
        DataError: a data set has no rows.
    """

    def __init__(
        self,
        sets: Sequence[PlannedRows],
        *,
        batch_size: int,
        seed: int = 0,
        strategy: Strategy = "proportional",
        shuffle: bool = True,
    ) -> None:
        if not sets or not all(one.count for one in sets):
            raise DataError("There are no rows to make batches of.")
        self.sets, self.batch_size, self.seed = tuple(sets), batch_size, seed
        self.strategy: Strategy = strategy
        self.shuffle = shuffle
        self._epoch = lru_cache(maxsize=2)(self._compute)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_epoch"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._epoch = lru_cache(maxsize=2)(self._compute)

    @property
    def fingerprint(self) -> str:
        """What identifies the data sets."""
        return "+".join(one.fingerprint for one in self.sets)

    @property
    def num_rows(self) -> int:
        """The number of rows of all data sets."""
        return sum(one.count for one in self.sets)

    def batches(self, epoch: int) -> int:
        """Return the number of batches in an epoch; it varies a little where texts must not repeat."""
        return len(self._of(epoch).datasets)

    def rows(self, epoch: int) -> int:
        """Return the number of rows in the batches of an epoch."""
        planned = self._of(epoch)
        sizes = [np.diff(starts) for starts in planned.starts]
        pairs = zip(planned.datasets.tolist(), planned.numbers.tolist(), strict=True)
        return sum(int(sizes[dataset][number]) for dataset, number in pairs)

    def batch(self, epoch: int, index: int) -> PairBatch:
        """Return the batch at an index of an epoch.

        Raises:
            IndexError: the epoch has no such batch.
        """
        if not 0 <= index < self.batches(epoch):
            raise IndexError(f"batch {index} of epoch {epoch}, which has {self.batches(epoch)}")
        planned = self._of(epoch)
        dataset, number = int(planned.datasets[index]), int(planned.numbers[index])
        start, end = planned.starts[dataset][number : number + 2].tolist()
        return PairBatch(dataset, planned.rows[dataset][start:end])

    def _of(self, epoch: int) -> _Epoch:
        return self._epoch(epoch if self.shuffle else 0)

    def _compute(self, epoch: int) -> _Epoch:
        divided = [self._divided(epoch, number) for number in range(len(self.sets))]
        counts = [len(starts) - 1 for _, starts in divided]
        if self.strategy == "round_robin" and self.shuffle:
            least = min(counts)
            datasets = np.tile(np.arange(len(counts)), least)
            numbers = np.repeat(np.arange(least), len(counts))
        else:
            datasets = np.repeat(np.arange(len(counts)), counts)
            if self.shuffle:
                np.random.default_rng((self.seed, epoch, len(counts))).shuffle(datasets)
            numbers = np.empty(len(datasets), np.int64)
            for number, count in enumerate(counts):
                numbers[datasets == number] = np.arange(count)
        rows, starts = zip(*divided, strict=True)
        return _Epoch(datasets, numbers, rows, starts)

    def _divided(self, epoch: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of a data set in the order of an epoch, and where each batch starts."""
        of, order = self.sets[number], np.arange(self.sets[number].count)
        if self.shuffle:
            generator = np.random.default_rng((self.seed, epoch, number))
            if of.weights is None:
                order = generator.permutation(of.count)
            else:
                order = generator.choice(of.count, of.count, p=of.weights / of.weights.sum())
        if of.ids is not None:
            return distinct_batches(order, of.ids, self.batch_size)
        return order, np.append(np.arange(0, of.count, self.batch_size), of.count)
