"""The endless stream of micro-batches that a run trains on, and its position in the data.

The processes of a run share one stream: of every ``R`` micro-batches in a row, which are a round, process
``r`` of ``R`` takes the one with number ``r``. Rounds go on across the end of an epoch, so that no
micro-batch is repeated or left out, and the position means the same on any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count, islice
from typing import Any, Protocol, runtime_checkable

import torch

from ultra_train.system.processes import Processes

Position = tuple[int, int]
"""An epoch, and the index of a micro-batch in it."""


def parse_positions(value: Any) -> list[Position] | None:
    """Return the positions in a list read from JSON, or None when it is not a list of positions."""
    if not isinstance(value, (list, tuple)):
        return None
    pairs = [p for p in value if isinstance(p, (list, tuple)) and len(p) == 2]
    whole = [(e, i) for e, i in pairs if type(e) is int and type(i) is int]
    return whole if len(whole) == len(value) else None


IDS, MASK = "input_ids", "attention_mask"
"""How the names of the entries of a batch end that hold tokens, and which of these are no padding.

A batch of pairs has such entries for each column of texts.
"""


def num_real_tokens(batch: Mapping[str, Any]) -> int:
    """Count the tokens of a batch that are not padding, in all columns of texts."""
    masks = {name.removesuffix(MASK): value for name, value in batch.items() if name.endswith(MASK)}
    unmasked = (
        value.numel()
        for name, value in batch.items()
        if name.endswith(IDS) and name.removesuffix(IDS) not in masks
    )
    return sum(int(mask.sum()) for mask in masks.values()) + sum(unmasked)


Chosen = Callable[[Position], bool]
"""Whether this process trains on the micro-batch at a position; asked once for every position, in order."""


class PositionedLoader(Protocol):
    """A loader whose state is a position, such as ``ultra_train.data.batches.loader.BatchLoader``."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of the epoch; afterwards the position is the start of the next epoch."""
        ...

    def __len__(self) -> int:
        """Return the number of batches of the whole current epoch."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Return ``epoch`` and ``index`` of the first batch that was not yielded yet."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to a position."""
        ...


@runtime_checkable
class SelectiveLoader(Protocol):
    """A loader that does not make the batches that other processes train on.

    Any other loader makes the batches of all processes, and those of the others are discarded.
    """

    def select(self, chosen: Chosen) -> Iterator[Any]:
        """Yield the rest of the epoch, with None in the place of every batch that is not chosen."""
        ...


class EndlessBatches:
    """Iterates over a loader epoch after epoch, without the micro-batches that a rollback excluded.

    It has no length on purpose: the Hugging Face loop then counts updates only, and only the stream knows the
    position in the data. A resumed run reads no batch just to discard it.

    Args:
        loader: yields the micro-batches of an epoch from its position on.
        skipped: positions that are left out.
        here: this process; it is given every ``here.count``-th micro-batch.

    Attributes:
        round: positions of the micro-batches that all processes were given last, in the order of their ranks.
    """

    def __init__(
        self, loader: PositionedLoader, skipped: Collection[Position] = (), here: Processes | None = None
    ) -> None:
        self.loader = loader
        self.skipped = set(skipped)
        self.here = here or Processes()
        self.round: list[Position] = [(0, 0)]

    @property
    def position(self) -> Position:
        """Epoch and index of the first micro-batch that no process was given yet, equal on all of them."""
        state = self.loader.state_dict()
        return int(state["epoch"]), int(state["index"])

    def move_to(self, position: Position) -> None:
        """Move to a position; nothing before it is read."""
        self.loader.load_state_dict({"epoch": position[0], "index": position[1]})

    @property
    def epochs(self) -> float:
        """Number of epochs so far, fractions included."""
        epoch, index = self.position
        return epoch + index / max(1, len(self.loader))

    def __iter__(self) -> Iterator[Any]:
        """Yield the micro-batches of this process without end, each when its round is complete."""
        begun: list[Position] = []
        own: Any = None
        while True:
            here = self.position
            for batch in self._rest_of_epoch(self._chosen(len(begun))):
                taken, here = here, self.position
                if taken in self.skipped:
                    continue
                if len(begun) == self.here.rank:
                    own = batch
                begun.append(taken)
                if len(begun) == self.here.count:
                    self.round, begun = begun, []
                    yield own

    def _chosen(self, begun: int) -> Chosen:
        """Return which of the next positions are of this process.

        Args:
            begun: number of micro-batches of the present round that were passed already.
        """
        turns = count(begun)
        rank, processes = self.here.rank, self.here.count
        return lambda position: position not in self.skipped and next(turns) % processes == rank

    def _rest_of_epoch(self, chosen: Chosen) -> Iterator[Any]:
        """Start the loader without advancing the global random generator.

        A torch ``DataLoader`` draws a seed from it; dropout would otherwise differ between a run that resumes
        in the middle of an epoch and one that was never interrupted.
        """
        before = torch.random.get_rng_state()
        loader = self.loader
        batches = loader.select(chosen) if isinstance(loader, SelectiveLoader) else iter(loader)
        first = list(islice(batches, 1))
        torch.random.set_rng_state(before)
        yield from first
        yield from batches
