"""A data loader that knows its position in the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import tee
from typing import Any, Generic, Protocol, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

from ultra_train.data.batches.position import damaged, read_position
from ultra_train.system.signals import shield_worker

Planned = TypeVar("Planned", covariant=True)
"""What a plan says about a batch: which rows it has."""


class Plan(Protocol[Planned]):
    """The batches of every epoch, as a pure function of (epoch, index), such as ``BatchPlan``."""

    @property
    def seed(self) -> int:
        """The seed of the order."""
        ...

    @property
    def fingerprint(self) -> str:
        """What identifies the data."""
        ...

    @property
    def num_rows(self) -> int:
        """The number of rows of the data, which trainers report."""
        ...

    def batches(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        ...

    def batch(self, epoch: int, index: int) -> Planned:
        """Return what is in a batch."""
        ...


Collator = Callable[[Planned], dict[str, Any]]


class BatchLoader(DataLoader, Generic[Planned]):
    """Yields the batches of a plan, from any position on.

    Iterating yields the rest of the current epoch; afterwards the position is the beginning of the next one.
    The state is the position of the first batch that the consumer has not received. Batches that worker
    processes have prefetched do not count, so a state that is saved after any step continues exactly there.

    Args:
        plan: the batches and their order.
        collator: turns a planned batch into tensors.
        epoch: epoch to begin with.
        index: batch of that epoch to begin with.
        num_workers: number of worker processes; 0 collates in this process.
        pin_memory: see ``torch.utils.data.DataLoader``.
        prefetch_factor: batches that a worker prepares in advance; see there.
    """

    def __init__(
        self,
        plan: Plan[Planned],
        collator: Collator[Planned],
        *,
        epoch: int = 0,
        index: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch_factor: int | None = None,
    ) -> None:
        self.plan = plan
        self._position = _PositionSampler(plan, epoch, index)
        super().__init__(
            _Batches(plan, collator),
            batch_size=None,
            sampler=self._position,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor,
            worker_init_fn=shield_worker,
        )

    def __len__(self) -> int:
        """Return the number of batches of the whole current epoch."""
        return self.plan.batches(self._position.epoch)

    @property
    def remaining(self) -> int:
        """Number of batches that are left in the current epoch."""
        return len(self) - self._position.index

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the batches that are left in the current epoch."""
        yield from self.select(lambda position: True)

    def select(self, chosen: Callable[[tuple[int, int]], bool]) -> Iterator[Any]:
        """Yield the rest of the current epoch, with None in the place of every batch that is not chosen.

        Worker processes prefetch chosen batches only.

        Args:
            chosen: is asked once for every position, in order.
        """
        position = self._position
        epoch, batches_in_epoch = position.epoch, self.plan.batches(position.epoch)
        rest = ((epoch, index) for index in range(position.index, batches_in_epoch))
        here, position.ahead = tee((place, chosen(place)) for place in rest)
        batches = super().__iter__()
        for _, is_chosen in here:
            batch = next(batches) if is_chosen else None
            # The consumer has received a batch as soon as it is yielded.
            position.index += 1
            if position.index >= batches_in_epoch:
                position.epoch, position.index = epoch + 1, 0
            yield batch
        if not batches_in_epoch:  # all weights are small
            position.epoch, position.index = epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the next batch, and what identifies the data."""
        return {
            "epoch": self._position.epoch,
            "index": self._position.index,
            "seed": self.plan.seed,
            "shards": self.plan.fingerprint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Move to a position.

        Raises:
            DataError: the state belongs to other data or another seed, or is damaged.
        """
        epoch, index = read_position(state, self.state_dict())
        if index and index >= self.plan.batches(epoch):
            raise damaged(epoch, index)
        self._position.epoch, self._position.index = epoch, index

    def set_epoch(self, epoch: int) -> None:
        """Move to the beginning of an epoch, unless it is the current one."""
        if epoch != self._position.epoch:
            self._position.epoch, self._position.index = epoch, 0


class _PositionSampler(Sampler[tuple[int, int]]):
    """Yields those positions in the rest of an epoch that are chosen."""

    def __init__(self, plan: Plan[Any], epoch: int, index: int) -> None:
        self.plan, self.epoch, self.index = plan, epoch, index
        self.ahead: Iterator[tuple[tuple[int, int], bool]] = iter(())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield from (place for place, is_chosen in self.ahead if is_chosen)

    def __len__(self) -> int:
        return self.plan.batches(self.epoch)


class _Batches(Dataset[dict[str, Any]]):
    """Maps (epoch, index) to a batch; its length is the number of rows, which trainers report."""

    def __init__(self, plan: Plan[Any], collator: Collator[Any]) -> None:
        self.plan, self.collator = plan, collator

    def __len__(self) -> int:
        return self.plan.num_rows

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Any]:
        return self.collator(self.plan.batch(*position))
