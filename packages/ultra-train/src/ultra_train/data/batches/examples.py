"""Batches of examples that fit into memory, in an order that follows from seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ultra_train.data.errors import DataError

Collate = Callable[[int, Sequence[int]], Mapping[str, Any]]
"""Makes a batch of an epoch from the indices of its examples."""


class ExampleBatches:
    """The batches of every epoch; iterating yields those of epoch 0, the same ones every time.

    Args:
        num_examples: how many examples there are.
        collate: makes a batch of an epoch from the indices of its examples.
        batch_size: examples in a batch; the last one may have fewer.
        seed: decides the order.
        shuffle: draw another order in every epoch instead of keeping the order of the examples.
    """

    def __init__(
        self,
        num_examples: int,
        collate: Collate,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        if num_examples < 1:
            raise DataError("There are no examples to make batches of.")
        self.num_examples, self.collate, self.batch_size = num_examples, collate, batch_size
        self.seed, self.shuffle = seed, shuffle

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self.num_examples // self.batch_size)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the batches of epoch 0."""
        for index in range(len(self)):
            yield self.batch(0, index)

    def batch(self, epoch: int, index: int) -> Mapping[str, Any]:
        """Return a batch."""
        order = np.arange(self.num_examples)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_examples)
        start = index * self.batch_size
        return self.collate(epoch, order[start : start + self.batch_size].tolist())


class ExampleLoader:
    """The batches from a position on, for a trainer that resumes; see ``PositionedLoader``.

    Args:
        batches: the batches of every epoch.
    """

    def __init__(self, batches: ExampleBatches) -> None:
        self.batches = batches
        self.epoch = self.index = 0

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rest of the epoch; afterwards the position is the start of the next epoch."""
        yield from self.select(lambda position: True)

    def select(self, chosen: Callable[[tuple[int, int]], bool]) -> Iterator[Any]:
        """Yield the rest of the epoch, with None in the place of every batch that is not chosen."""
        for index in range(self.index, len(self)):
            position = self.epoch, index
            batch = self.batches.batch(*position) if chosen(position) else None
            last = index + 1 == len(self)  # a batch counts as soon as it is handed out
            self.epoch, self.index = (self.epoch + 1, 0) if last else (self.epoch, index + 1)
            yield batch

    def state_dict(self) -> Mapping[str, int]:
        """Return epoch and index of the next batch."""
        return {"epoch": self.epoch, "index": self.index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to a position.

        Raises:
            DataError: the position is damaged, or belongs to fewer or larger batches.
        """
        epoch, index = state.get("epoch"), state.get("index")
        if type(epoch) is not int or type(index) is not int or epoch < 0 or not 0 <= index < len(self):
            raise DataError(f"The checkpoint's data position is damaged: epoch {epoch!r}, batch {index!r}.")
        self.epoch, self.index = epoch, index
