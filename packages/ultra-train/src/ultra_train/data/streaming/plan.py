"""Which documents form which batch of a stream: a pure function of (seed, epoch, window, index)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ultra_train.data.batches.batch_plan import BatchPlan, Mode
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import combine
from ultra_train.data.streaming.windows import Split, WindowFolder
from ultra_train.system import files

_WINDOW = 4  # another use of a hash than those in batch_plan.py and masking.py


class Position(NamedTuple):
    """The place of a batch: epoch and number in it, and window and place in that."""

    epoch: int
    number: int
    window: int
    place: int


class Provider(Protocol):
    """Provides the windows of a stream."""

    folder: WindowFolder

    def wait_for(self, number: int) -> None:
        """Return when a window is there."""
        ...


def window_seed(seed: int, number: int) -> int:
    """Return the seed of the order and of the masks of a window."""
    return int(combine(combine(seed, _WINDOW), number)[0])


class StreamPlan:
    """The order of the documents in each window of a stream.

    Args:
        folder: the windows.
        split: which texts are held out, and the weights of the sources.
        batch_size: see ``BatchPlan``.
        max_length: see ``BatchPlan``.
        seed: seed of the order.
        mode: see ``BatchPlan``.
        tokens_per_batch: see ``BatchPlan``; 1 makes every document a batch.
    """

    def __init__(
        self,
        folder: WindowFolder,
        split: Split,
        *,
        batch_size: int,
        max_length: int,
        seed: int,
        mode: Mode,
        tokens_per_batch: int | None = None,
    ) -> None:
        self.folder, self.split, self.seed = folder, split, seed
        self._settings: dict[str, Any] = {
            "batch_size": batch_size,
            "max_length": max_length,
            "mode": mode,
            "tokens_per_batch": tokens_per_batch,
        }
        self._of = lru_cache(maxsize=2)(self._open)

    def __reduce__(self) -> tuple[object, ...]:
        return _plan, (self.folder.directory, self.split, {**self._settings, "seed": self.seed})

    @property
    def name(self) -> str:
        """A name for everything that the number of batches in a window depends on."""
        return f"{sorted(self._settings.items())}-{self.seed}-{self.split}"

    def of(self, window: int) -> BatchPlan | None:
        """Return the batches of a window that is there; None when it has no documents to train on."""
        return self._of(window)

    def _open(self, window: int) -> BatchPlan | None:
        parts = self.folder.open(window, self.split)
        if parts is None or not len(parts[0]):
            return None
        return BatchPlan(parts[0], seed=window_seed(self.seed, window), **self._settings)


def _plan(directory: Path, split: Split, settings: dict[str, Any]) -> StreamPlan:
    return StreamPlan(WindowFolder(directory), split, **settings)


class Positions:
    """The batches of all epochs in their order, and how many there are in each window.

    These numbers are kept in a file, so that a position is found without opening the windows before it. When
    the file is lost, they are counted again, which makes windows again that are no longer there.

    Args:
        plan: the order in each window.
        provider: provides the windows.
    """

    def __init__(self, plan: StreamPlan, provider: Provider) -> None:
        self._plan, self._provider = plan, provider
        self._path = provider.folder.directory / f"batches-{short_name(plan.name)}.json"
        self._counts: dict[int, list[int]] = self._read()

    def num_batches(self, epoch: int, window: int) -> int:
        """Return the number of batches of a window in an epoch, of all processes together."""
        counts = self._counts.setdefault(epoch, [])
        while len(counts) <= window:
            number = len(counts)
            self._provider.wait_for(number)
            batches = self._plan.of(number)
            counts.append(0 if batches is None else batches.batches(epoch))
            self._write()
        return counts[window]

    def known(self, epoch: int) -> list[int]:
        """Return the numbers of batches of the first windows of an epoch, as far as they are known."""
        return self._counts.get(epoch, [])

    def find(self, epoch: int, index: int) -> Position:
        """Return the place of a batch; that behind the last batch of an epoch is the first of the next one.

        Raises:
            DataError: the epoch has fewer batches.
        """
        window, left = 0, index
        while left >= (here := self.num_batches(epoch, window)):
            left -= here
            if not self._is_last(window):
                window += 1
            elif left == 0 and index:
                return Position(epoch + 1, 0, 0, 0)
            else:
                raise DataError(f"The checkpoint's data position is damaged: epoch {epoch}, batch {index}.")
        return Position(epoch, index, window, left)

    def rest_of_epoch(self, position: Position) -> Iterator[Position]:
        """Yield the places of this batch and of those after it in its epoch; their windows are there."""
        epoch = position.epoch
        self._provider.wait_for(position.window)
        if not self.num_batches(epoch, position.window):
            position = self._first_after(epoch, position.number, position.window)
        while position.epoch == epoch:
            yield position
            position = self.after(position)

    def after(self, position: Position) -> Position:
        """Return the place of the next batch; its window is there if it is in the same epoch."""
        epoch, index, window, place = position
        if place + 1 < self.num_batches(epoch, window):
            return Position(epoch, index + 1, window, place + 1)
        return self._first_after(epoch, index + 1, window)

    def _first_after(self, epoch: int, number: int, window: int) -> Position:
        """Return the place of the first batch, with this number, of the windows after one."""
        while not self._is_last(window):
            window += 1
            self._provider.wait_for(window)
            if self.num_batches(epoch, window):
                return Position(epoch, number, window, 0)
        return Position(epoch + 1, 0, 0, 0)

    def _is_last(self, window: int) -> bool:
        if (record := self._provider.folder.record(window)) is None:
            self._provider.wait_for(window)
            record = self._provider.folder.record(window)
        assert record is not None
        return record.last

    def _read(self) -> dict[int, list[int]]:
        try:
            body = files.read_json(self._path)
            return {int(epoch): [int(count) for count in counts] for epoch, counts in body.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        """Write the numbers, with what other processes of the run have written meanwhile.

        A full disk leaves the file as it was; the next window writes these numbers too.
        """
        for epoch, counts in self._read().items():
            if len(counts) > len(self._counts.get(epoch, [])):
                self._counts[epoch] = counts
        try:
            files.write_text(self._path, json.dumps(self._counts))
        except OSError as error:
            if not files.is_full_disk(error):
                raise


def short_name(name: str) -> str:
    """Return a short name for a long one."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]
