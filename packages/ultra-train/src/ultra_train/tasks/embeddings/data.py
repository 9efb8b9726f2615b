"""The data sets that a run trains on and is evaluated with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import attrs
import numpy as np
import xxhash
from numpy.typing import NDArray

from ultra_train.tasks.embeddings.plan import PairPlan, PlannedRows, Strategy
from ultra_train.tasks.embeddings.text_ids import text_ids

if TYPE_CHECKING:
    from datasets import Dataset

TARGETS = ("score", "label")
"""The columns that hold no text."""
_AT_ONCE = 10_000


@attrs.frozen(kw_only=True, eq=False)
class PairSet:
    """One data set, with the canonical columns of its kind.

    Attributes:
        name: what metrics and messages call it.
        kind: the kind of its rows (``ultra_train.data.pairs.kinds``).
        source: where it comes from, as the preset names it.
        train: the rows to train on.
        held_out: the rows for evaluation, or None.
        negatives_in_batch: whether its loss compares a row with the texts of the others, so that no text may
            be twice in a batch.
        weights: (rows,) how often a row of ``train`` is drawn, in proportion; None: once an epoch.
    """

    name: str
    kind: str
    source: str
    train: Dataset
    held_out: Dataset | None = None
    negatives_in_batch: bool = False
    weights: NDArray[np.float64] | None = None

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of texts, in the order that losses expect."""
        return tuple(name for name in self.train.column_names if name not in TARGETS)

    @cached_property
    def fingerprint(self) -> str:
        """What identifies the rows that are trained on."""
        return fingerprint(self.train)

    def planned(self, rows: Dataset) -> PlannedRows:
        """Return what a plan needs to know of rows of the data set."""
        ids = text_ids(rows, self.text_columns) if self.negatives_in_batch else None
        weights = self.weights if rows is self.train else None
        return PlannedRows(count=len(rows), fingerprint=self.fingerprint, ids=ids, weights=weights)


@attrs.frozen(kw_only=True, eq=False)
class PairData:
    """All data sets of a run, in the order of the preset.

    Attributes:
        sets: the data sets.
        strategy: how their batches follow each other.
        batch_size: rows in a training batch.
        eval_batch_size: rows in an evaluation batch.
        seed: seed of the order.
    """

    sets: Sequence[PairSet]
    strategy: Strategy = "proportional"
    batch_size: int
    eval_batch_size: int
    seed: int

    def __iter__(self) -> Iterator[PairSet]:
        return iter(self.sets)

    @property
    def by_name(self) -> Mapping[str, PairSet]:
        """The data sets by their names."""
        return {one.name: one for one in self.sets}

    @property
    def held_out(self) -> Sequence[PairSet]:
        """The data sets that have rows for evaluation."""
        return [one for one in self.sets if one.held_out is not None and len(one.held_out)]

    @property
    def fingerprint(self) -> str:
        """What identifies the rows that are trained on."""
        return "+".join(one.fingerprint for one in self.sets)

    def training_plan(self) -> PairPlan:
        """Return the batches to train on."""
        return PairPlan(
            [one.planned(one.train) for one in self.sets],
            batch_size=self.batch_size,
            seed=self.seed,
            strategy=self.strategy,
        )

    def evaluation_plan(self) -> PairPlan | None:
        """Return the batches for evaluation, of the data sets in ``held_out``; None without any."""
        rows = [one.planned(one.held_out) for one in self.held_out if one.held_out is not None]
        return PairPlan(rows, batch_size=self.eval_batch_size, shuffle=False) if rows else None


def fingerprint(rows: Dataset) -> str:
    """Return a hash of the content of a data set and the names of its columns."""
    digest = xxhash.xxh3_64("\0".join(rows.column_names).encode())
    arrow = rows.with_format("arrow")
    for start in range(0, len(rows), _AT_ONCE):
        for batch in arrow[start : start + _AT_ONCE].combine_chunks().to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()
