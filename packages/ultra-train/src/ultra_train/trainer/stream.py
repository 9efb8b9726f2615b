"""The endless stream of micro-batches that a run trains on, and where in it the run stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import torch

Position = tuple[int, int]
"""Epoch and index of a micro-batch within it."""


class PositionedLoader(Protocol):
    """A loader whose state is a position; ``ultra_train.data.batches.batch_plan.BatchLoader`` is one."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of the epoch; at its end it stands at the start of the next one."""
        ...

    def __len__(self) -> int:
        """Batches of the whole current epoch."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Return ``epoch`` and ``index`` of the first batch not handed out yet."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position."""
        ...


class EndlessBatches:
    """Runs a loader epoch after epoch and leaves out the micro-batches that a rollback ruled out.

    It has no length on purpose: the Hugging Face loop then counts updates only, and the position in the data
    is ours alone. No batch is read to be thrown away when a run resumes.

    Args:
        loader: yields the micro-batches of an epoch from its position.
        skipped: positions that are left out.
    """

    def __init__(self, loader: PositionedLoader, skipped: Collection[Position] = ()) -> None:
        self.loader = loader
        self.skipped = set(skipped)
        self.last: Position = (0, 0)
        """Position of the micro-batch handed out last."""

    @property
    def position(self) -> Position:
        """Epoch and index of the first micro-batch that was not handed out yet."""
        state = self.loader.state_dict()
        return int(state["epoch"]), int(state["index"])

    def move_to(self, position: Position) -> None:
        """Go to a position; nothing before it is read."""
        self.loader.load_state_dict({"epoch": position[0], "index": position[1]})

    @property
    def epochs(self) -> float:
        """Passes over the data so far, as a fraction."""
        epoch, index = self.position
        return epoch + index / max(1, len(self.loader))

    def __iter__(self) -> Iterator[Any]:
        """Yield micro-batches for ever."""
        while True:
            here = self.position
            for batch in self._rest_of_epoch():
                taken, here = here, self.position
                if taken not in self.skipped:
                    self.last = taken
                    yield batch

    def _rest_of_epoch(self) -> Iterator[Any]:
        """Start the loader without moving the global generator, from which a torch DataLoader draws a seed.

        Else dropout would differ between a run that starts in the middle of an epoch and one that came there.
        """
        before = torch.random.get_rng_state()
        batches = iter(self.loader)
        first = list(islice(batches, 1))
        torch.random.set_rng_state(before)
        yield from first
        yield from batches
