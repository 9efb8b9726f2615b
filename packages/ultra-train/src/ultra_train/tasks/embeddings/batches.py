"""Planned batches as the tensors that sentence-transformers' trainers expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ultra_train.system.processes import Processes
from ultra_train.tasks.embeddings.plan import PairBatch, PairPlan

if TYPE_CHECKING:
    from datasets import Dataset

Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]
"""The data collator of sentence-transformers: rows by column to tokens by column."""


class PairCollator:
    """Reads the rows of a planned batch and tokenises them.

    Args:
        datasets: the rows by the name of their data set, in the order of the plan.
        collate: the data collator.
        named: whether the batch says which data set it is of, for losses, prompts or routes of its own.
    """

    def __init__(self, datasets: Mapping[str, Dataset], collate: Collate, *, named: bool) -> None:
        self.names, self.datasets = list(datasets), list(datasets.values())
        self.collate, self.named = collate, named

    def __call__(self, batch: PairBatch) -> dict[str, Any]:
        """Return the tensors of a batch."""
        columns = self.datasets[batch.dataset][batch.rows.tolist()]
        if self.named:
            columns["dataset_name"] = [self.names[batch.dataset]] * len(batch.rows)
        names = list(columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return self.collate(rows)


class EvaluationBatches:
    """The held-out batches, the same ones every time they are iterated over.

    Args:
        plan: the batches.
        collator: makes their tensors.
        names: names of the data sets of the plan.
    """

    def __init__(self, plan: PairPlan, collator: PairCollator, names: Sequence[str]) -> None:
        self.plan, self.collator, self.names = plan, collator, tuple(names)

    def __len__(self) -> int:
        return self.plan.batches(0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _, _, batch in self.share(Processes()):
            yield batch

    def share(self, here: Processes) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield the batches of one of several processes, as many on each of them.

        Args:
            here: the process.

        Yields:
            the data set, the number of rows that count, which is 0 for a batch that another process has too,
            and the tensors.
        """
        for start in range(0, len(self), here.count):
            index = start + here.rank
            planned = self.plan.batch(0, index if index < len(self) else start)
            count = len(planned.rows) if index < len(self) else 0
            yield self.names[planned.dataset], count, self.collator(planned)
