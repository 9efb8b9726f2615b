"""A data loader over a stream that knows its position in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import tee
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ultra_train.data.batches.masking import MLMCollator
from ultra_train.data.batches.position import read_position
from ultra_train.data.streaming.plan import Position, Positions, StreamPlan, window_seed
from ultra_train.data.streaming.stream import WindowStream
from ultra_train.system.signals import shield_worker


class StreamLoader:
    """Yields the batches of a stream from a position on; a ``SelectiveLoader`` of the trainer.

    The position is that of the first batch that the consumer has not received. Nothing before it is read,
    except the beginning of its window when that is no longer there.

    Args:
        stream: the windows.
        plan: the order in each window.
        collator: makes tensors of the documents of any window.
        num_workers: number of worker processes that make batches; 0 makes them in this process.
        pin_memory: see ``torch.utils.data.DataLoader``.
    """

    def __init__(
        self,
        stream: WindowStream,
        plan: StreamPlan,
        collator: MLMCollator,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.stream, self.plan = stream, plan
        self.positions = Positions(plan, stream)
        self._batches = _WindowBatches(plan, collator)
        self._options: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pin_memory}
        self._next = Position(0, 0, 0, 0)
        self._passed = 0

    def __len__(self) -> int:
        """Return the number of batches of the epoch; an estimate until the stream was read to its end.

        It is made of the windows up to the present one, not of those that happen to be tokenised already, so
        that it is the same on all processes of a run and after a resumption.
        """
        epoch, index, window, _ = self._next
        if epoch and not index:
            return max(1, sum(self.positions.known(epoch - 1)))
        known = self.positions.known(epoch)[: window + 1]
        return max(1, round(sum(known) / self.stream.share(len(known) - 1)))

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._next.epoch

    @property
    def texts(self) -> int:
        """Number of texts before the next batch, in all epochs so far."""
        epoch, _, window, place = self._next
        last = self.stream.folder.last
        whole = 0 if last is None else self.stream.texts(last + 1)
        share = place / max(1, self.positions.num_batches(epoch, window)) if place else 0.0
        return epoch * whole + self.stream.texts(window) + round(share * self.stream.window)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the rest of the epoch; afterwards the position is the start of the next one."""
        return self.select(lambda position: True)

    def select(self, chosen: Callable[[tuple[int, int]], bool]) -> Iterator[Any]:
        """Yield the rest of the epoch, with None in the place of every batch that is not chosen.

        Worker processes prefetch chosen batches only.

        Args:
            chosen: is asked once for every position, in order.
        """
        epoch, rest = self._next.epoch, self.positions.rest_of_epoch(self._next)
        here, ahead = tee((place, chosen((place.epoch, place.number))) for place in rest)
        sampler = _Chosen(place for place, is_chosen in ahead if is_chosen)
        batches = iter(
            DataLoader(
                self._batches, batch_size=None, sampler=sampler, worker_init_fn=shield_worker, **self._options
            )
        )
        for place, is_chosen in here:
            batch = next(batches) if is_chosen else None
            self._next = self.positions.after(place)
            if place.window != self._passed:
                self._passed = place.window
                self.stream.passed(place.window)
            yield batch
        if not self._next.number:  # an epoch without any batch, when all weights are small
            self._next = Position(max(epoch + 1, self._next.epoch), 0, 0, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the next batch, and what identifies the data."""
        epoch, index = self._next[:2]
        return {"epoch": epoch, "index": index, "seed": self.plan.seed, "shards": self.stream.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to a position.

        Raises:
            DataError: the state belongs to other data or another seed, or is damaged.
        """
        epoch, index = read_position(state, self.state_dict())
        if index and not self.positions.known(epoch):
            self.stream.say(
                f"notice: {self.stream.folder.directory} has no record of the batches before batch {index:,} "
                f"of epoch {epoch}; they are counted again, which reads their texts again"
            )
        self._next = self.positions.find(epoch, index)


class _Chosen(Sampler[Position]):
    """Yields the places of the batches to make."""

    def __init__(self, places: Iterator[Position]) -> None:
        self._places = places

    def __iter__(self) -> Iterator[Position]:
        return self._places


class _WindowBatches(Dataset[dict[str, torch.Tensor]]):
    """Maps the place of a batch to its tensors."""

    def __init__(self, plan: StreamPlan, collator: MLMCollator) -> None:
        self._plan, self._collator = plan, collator

    def __getitem__(self, position: Position) -> dict[str, torch.Tensor]:
        batches = self._plan.of(position.window)
        assert batches is not None
        collator = self._collator.over(batches.shards, window_seed(self._collator.seed, position.window))
        return collator(batches.batch(position.epoch, position.place))
