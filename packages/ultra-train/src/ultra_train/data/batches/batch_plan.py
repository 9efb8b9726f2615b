"""Which documents form which batch: a pure function of (seed, epoch, index).

The position in the data is therefore two integers, and a resumed run reads nothing twice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultra_train.data.batches.batch_layout import NO_BATCHES, BatchLayout, by_length, packed
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import combine, uniform
from ultra_train.data.token_cache.shards import TokenShards

Mode = Literal["length", "packed"]

_DRAWS, _BATCHES = (
    1,
    2,
)  # distinguish the uses of a hash, so that equal integers never give two random numbers


class PlannedBatch(NamedTuple):
    """The documents of one batch.

    Attributes:
        draws: (n,) the documents: ``draw % len(shards)`` is the index of the document, and
            ``draw // len(shards)`` counts its repetitions in an epoch, when its source has a weight above 1.
        rows: (n,) the row of each document, ascending.
        num_rows: number of rows.
        packed: whether a row may hold several documents.
        epoch: epoch of the batch.
        index_in_epoch: index of the batch in the epoch.
    """

    draws: NDArray[np.int64]
    rows: NDArray[np.int64]
    num_rows: int
    packed: bool
    epoch: int
    index_in_epoch: int


class BatchPlan:
    """The order of every epoch over some documents.

    In mode ``"length"`` a row is one document, and the documents of a batch have equal or nearly equal
    lengths; their number is chosen so that the batch has about ``tokens_per_batch`` real tokens. In mode
    ``"packed"`` a row of ``max_length`` tokens holds several documents, and a batch has ``batch_size`` rows.
    In both modes, documents and batches are shuffled anew in every epoch.

    Args:
        shards: the documents.
        batch_size: number of rows of ``max_length`` tokens that a batch corresponds to.
        max_length: greatest length of a row in tokens.
        seed: seed of the order.
        mode: see above.
        tokens_per_batch: number of real tokens per batch in mode ``"length"``, special tokens included; None
            means ``batch_size * max_length``.
        shuffle: whether to shuffle anew in every epoch; evaluation does not.

    Raises:
        DataError: there are no documents, a document is longer than ``max_length``, or a size is below 1.
    """

    def __init__(
        self,
        shards: TokenShards,
        *,
        batch_size: int,
        max_length: int,
        seed: int = 0,
        mode: Mode = "length",
        tokens_per_batch: int | None = None,
        shuffle: bool = True,
    ) -> None:
        if not len(shards):
            raise DataError("There are no documents to make batches of.")
        if batch_size < 1 or (tokens_per_batch is not None and tokens_per_batch < 1):
            sizes = f"batch_size is {batch_size} and tokens_per_batch {tokens_per_batch}"
            raise DataError(f"{sizes}; both must be at least 1.")
        if (longest := int(shards.lengths.max())) > max_length:
            raise DataError(
                f"A document has {longest} tokens, but max_length is {max_length}; prepare the shards for it."
            )
        self.shards = shards
        self.seed = seed
        self.mode: Mode = mode
        self.shuffle = shuffle
        self.batch_size = batch_size
        self.max_length = max_length
        self.tokens_per_batch = tokens_per_batch or batch_size * max_length
        self._layout = lru_cache(maxsize=2)(self._compute)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_layout"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._layout = lru_cache(maxsize=2)(self._compute)

    @property
    def fingerprint(self) -> str:
        """What identifies the documents."""
        return self.shards.fingerprint

    @property
    def num_rows(self) -> int:
        """The number of documents."""
        return len(self.shards)

    def batches(self, epoch: int) -> int:
        """Return the number of batches in an epoch; constant when all weights are integers."""
        return self._of(epoch).num_batches

    def padding(self, epoch: int) -> float:
        """Return the share of the positions in an epoch that are padding."""
        return self._of(epoch).padding

    def batch(self, epoch: int, index: int) -> PlannedBatch:
        """Return the batch at an index of an epoch.

        Raises:
            IndexError: the epoch has no such batch.
        """
        if not 0 <= index < self.batches(epoch):
            raise IndexError(f"batch {index} of epoch {epoch}, which has {self.batches(epoch)}")
        layout = self._of(epoch)
        number = int(layout.order[index])
        begin, end = int(layout.starts[number]), int(layout.starts[number + 1])
        rows = layout.rows[begin:end]
        rows = rows - rows[0]
        return PlannedBatch(
            layout.draws[begin:end], rows, int(rows[-1]) + 1, self.mode == "packed", epoch, index
        )

    def position(self, consumed: int) -> tuple[int, int]:
        """Return (epoch, index) of the batch after the first ``consumed`` batches."""
        epoch = 0
        if self.shards.weights is None and consumed:
            epoch, consumed = divmod(consumed, self.batches(0))
        while consumed >= self.batches(epoch):
            consumed -= self.batches(epoch)
            epoch += 1
        return epoch, consumed

    def _of(self, epoch: int) -> BatchLayout:
        return self._layout(epoch if self.shuffle else 0)

    def _compute(self, epoch: int) -> BatchLayout:
        draws = self._drawn(epoch)
        if not len(draws):
            return NO_BATCHES
        key = combine(self.seed, epoch)
        draws = draws[np.argsort(combine(combine(key, _DRAWS), draws), kind="stable")]
        lengths = self.shards.lengths[draws % len(self.shards)]
        if self.mode == "packed":
            layout = packed(draws, lengths, max_length=self.max_length, rows_per_batch=self.batch_size)
        else:
            layout = by_length(draws, lengths, tokens_per_batch=self.tokens_per_batch)
        order = combine(combine(key, _BATCHES), np.arange(layout.num_batches))
        return layout._replace(order=np.argsort(order, kind="stable"))

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        """Return the draws of an epoch: every document as often as the weight of its source says."""
        count = len(self.shards)
        documents = np.arange(count, dtype=np.int64)
        if self.shards.weights is None:
            return documents
        whole = np.floor(self.shards.weights)
        # The phase of a document advances by the fraction every epoch: it is shown once in 1/fraction epochs.
        phase = uniform(combine(self.seed, documents)) + (self.shards.weights - whole) * epoch
        fraction = self.shards.weights - whole
        extra = np.floor(phase + fraction) - np.floor(phase)
        times = (whole + extra).astype(np.int64)
        copy = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
        return np.repeat(documents, times) + copy * count
