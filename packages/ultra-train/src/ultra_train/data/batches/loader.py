"""A data loader that knows where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ultra_train.data.batches.batch_plan import BatchPlan, PlannedBatch
from ultra_train.data.errors import DataError
from ultra_train.system.signals import shield_worker

Collator = Callable[[PlannedBatch], dict[str, torch.Tensor]]


class BatchLoader(DataLoader):
    """Yields the batches of a plan, from any place on.

    Iterating yields what is left of the current epoch; at its end the loader stands at the beginning of the
    next one. The state is the place of the first batch that the consumer has not received: what worker
    processes have fetched ahead does not count, so saving it after any step and loading it later continues
    exactly there, at once.

    Args:
        plan: The order.
        collator: Makes tensors of a planned batch.
        epoch: Where to begin.
        index: Batch of that epoch to begin with.
        num_workers: Worker processes; 0 collates in this one.
        pin_memory: See `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        plan: BatchPlan,
        collator: Collator,
        *,
        epoch: int = 0,
        index: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.plan = plan
        self._place = _Place(plan, epoch, index)
        super().__init__(
            _Batches(plan, collator),
            batch_size=None,
            sampler=self._place,
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=shield_worker,
        )

    def __len__(self) -> int:
        """Batches of the whole current epoch."""
        return self.plan.batches(self._place.epoch)

    @property
    def remaining(self) -> int:
        """Batches that are left of the current epoch."""
        return len(self) - self._place.index

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:  # type: ignore[override]
        """Yield the batches that are left of the current epoch."""
        place = self._place
        for batch in super().__iter__():
            # The consumer has a batch as soon as it is handed out.
            place.index += 1
            if place.index >= self.plan.batches(place.epoch):
                place.epoch, place.index = place.epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the next batch, and which data it belongs to."""
        shards = self.plan.shards.fingerprint
        return {
            "epoch": self._place.epoch,
            "index": self._place.index,
            "seed": self.plan.seed,
            "shards": shards,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place.

        Raises:
            DataError: The state belongs to other data or another seed, so that its place means nothing here,
                or is none.
        """
        here = self.state_dict()
        for name in ("seed", "shards"):
            if state.get(name, here[name]) != here[name]:
                raise DataError(
                    f"The checkpoint's data position belongs to {name} {state[name]!r}, but this run has "
                    f"{here[name]!r}: the data, the tokenizer, max_length or the seed changed. Restore them, "
                    "or start a new run."
                )
        epoch, index = state.get("epoch"), state.get("index")
        if not (_is_natural(epoch) and _is_natural(index) and index < self.plan.batches(epoch)):
            raise DataError(f"The checkpoint's data position is damaged: epoch {epoch!r}, batch {index!r}.")
        self._place.epoch, self._place.index = epoch, index

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; stays in place when that epoch is the current one."""
        if epoch != self._place.epoch:
            self._place.epoch, self._place.index = epoch, 0


def _is_natural(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


class _Place(Sampler[tuple[int, int]]):
    """Yields (epoch, index) of the rest of an epoch."""

    def __init__(self, plan: BatchPlan, epoch: int, index: int) -> None:
        self.plan, self.epoch, self.index = plan, epoch, index

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        yield from ((epoch, index) for index in range(self.index, self.plan.batches(epoch)))

    def __len__(self) -> int:
        return self.plan.batches(self.epoch)


class _Batches(Dataset[dict[str, torch.Tensor]]):
    """The batches by their place; its length is the number of documents, which is what a trainer reports."""

    def __init__(self, plan: BatchPlan, collator: Collator) -> None:
        self.plan, self.collator = plan, collator

    def __len__(self) -> int:
        return len(self.plan.shards)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, torch.Tensor]:
        return self.collator(self.plan.batch(*place))
