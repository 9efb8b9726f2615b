"""The data sets of a sparse preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.builders.builder import BUILDERS, build_pairs
from ultra_train.data.pairs.builders.options import BuilderOptions
from ultra_train.data.pairs.reading import PairSource, read_splits
from ultra_train.data.pairs.split_names import Split
from ultra_train.tasks.embeddings.data import PairData, PairSet
from ultra_train.tasks.embeddings.plan import Strategy
from ultra_train.tasks.embeddings.steps import Steps
from ultra_train.tasks.sparse.inner_losses import InnerLoss
from ultra_train.tasks.sparse.lowering import HELD_OUT
from ultra_train.tasks.sparse.preset import SparseFile
from ultra_train.tasks.sparse.sections import SparseDataset

if TYPE_CHECKING:
    from datasets import Dataset

    Splits = Mapping[str, Mapping[Split, Dataset]]

Say = Callable[[str], None]

QUERIES = ("query", "anchor", "sentence1")
"""The columns that hold queries; all other columns of texts hold documents."""


def route_of(column: str) -> str:
    """Return whether a column holds queries or documents."""
    return "query" if column in QUERIES else "document"


def enabled(preset: SparseFile) -> Iterator[tuple[str, SparseDataset]]:
    """Yield the data sets that are in use, with their names."""
    for name, entry in preset.datasets.items():
        if isinstance(entry, SparseDataset) and entry.enabled:
            yield name, entry


def strategy_of(preset: SparseFile) -> Strategy:
    """Return how the batches of several data sets follow each other."""
    return "proportional" if preset.datasets.get("sampling_strategy") == "proportional" else "round_robin"


def read_data(preset: SparseFile, inner: InnerLoss, *, cache_dir: str, say: Say) -> PairData:
    """Read and check the data sets of a preset.

    Args:
        preset: the sections.
        inner: the ranking loss, which says what kind of rows it takes.
        cache_dir: folder of the checked rows.
        say: prints what was left out.

    Raises:
        DataError: a data set is missing or broken, or does not have the columns that the loss needs.
    """
    training = preset.training
    reader = _Reader(preset, inner, cache_dir, say)
    found: list[PairSet] = []
    faults: list[str] = []
    for name, entry in enabled(preset):
        try:
            found += reader.sets(name, entry)
        except DataError as error:  # all that is missing is said at once
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return PairData(
        sets=found,
        strategy=strategy_of(preset),
        batch_size=training.per_device_train_batch_size,
        eval_batch_size=training.per_device_eval_batch_size,
        seed=training.seed,
    )


@attrs.frozen
class _Reader:
    """Reads data sets one by one.

    Attributes:
        preset: the sections.
        inner: the ranking loss.
        cache_dir: folder of the checked rows.
        say: prints what was left out.
    """

    preset: SparseFile
    inner: InnerLoss
    cache_dir: str
    say: Say

    def sets(self, name: str, entry: SparseDataset) -> Iterator[PairSet]:
        """Yield the data sets that a section stands for; ``ddsc`` is one with negatives and one without."""
        source = entry.source or name
        for own, splits in (self._built if name in BUILDERS else self._of_ones_own)(name, entry).items():
            steps = self._steps(own, entry)
            train, held_out = steps(splits["train"], self.inner.name), splits.get("dev")
            _check_columns(name, train.column_names, self.inner)
            if held_out is not None and steps.teacher is not None and self.evaluates:
                held_out = steps(held_out, self.inner.name)  # its loss needs the scores, too
            yield PairSet(
                name=own,
                kind=_kind(train.column_names),
                source=source,
                train=train,
                held_out=held_out if self.evaluates else None,
                negatives_in_batch=self.distinct,
            )

    @property
    def evaluates(self) -> bool:
        """Whether rows are held out."""
        return self.preset.training.eval_strategy != "no"

    @property
    def distinct(self) -> bool:
        """Whether no text may be twice in a batch."""
        return self.inner.negatives_in_batch and self.preset.training.batch_sampler != "batch_sampler"

    def _steps(self, name: str, entry: SparseDataset) -> Steps:
        return Steps(
            name=f"datasets.{name}",
            hard_negatives=entry.hard_negatives,
            teacher=entry.teacher,
            cache_dir=self.cache_dir,
            seed=self.preset.training.seed,
            trust_remote_code=self.preset.model.trust_remote_code,
            say=self.say,
        )

    def _built(self, name: str, entry: SparseDataset) -> Splits:
        keys = [field.name for field in attrs.fields(BuilderOptions) if field.name != "seed"]
        options = BuilderOptions(seed=self.preset.training.seed, **{key: getattr(entry, key) for key in keys})
        return build_pairs(name, options, cache_dir=self.cache_dir, notify=self._notice)

    def _of_ones_own(self, name: str, entry: SparseDataset) -> Splits:
        assert entry.source is not None, "rules ask for one"
        default = 1 - HELD_OUT if self.evaluates else None
        source = PairSource(
            source=entry.source,
            kind=entry.kind or self.inner.kinds[0],
            columns=entry.columns,
            languages=tuple(entry.languages or ()),
            split_ratio=default if entry.split_ratio is None else entry.split_ratio,
            seed=self.preset.training.seed,
        )

        def notify(line: str) -> None:
            if entry.split_ratio is not None or "split_ratio" not in line:  # a default needs no word
                self._notice(line)

        return {name: read_splits(source, cache_dir=self.cache_dir, notify=notify)}

    def _notice(self, line: str) -> None:
        self.say(f"notice: {line}")


def _kind(columns: Sequence[str]) -> str:
    """Return the kind of rows with these columns."""
    of = {"query": "qa", "sentence1": "paired_similarity", "anchor": "pairs"}
    return "triplets" if {"anchor", "negative"} <= set(columns) else of[columns[0]]


def _check_columns(name: str, columns: Sequence[str], inner: InnerLoss) -> None:
    """Refuse rows of another kind than the loss takes, or without a column that it needs.

    Raises:
        DataError: they are.
    """
    kind = _kind(columns)
    if kind not in inner.kinds:
        raise DataError(
            f"datasets.{name}: its rows have the columns {listed(list(columns))}, and the inner loss "
            f"{inner.name} takes rows of the kind {' or '.join(inner.kinds)}; disable the data set, or "
            "choose another loss.inner_loss, which all data sets share"
        )
    missing = [column for column in inner.needs if column not in columns]
    if missing:
        raise DataError(
            f"datasets.{name}: the inner loss {inner.name} needs the columns {listed(missing)}, and the rows "
            f"have {listed(list(columns))}; name them with datasets.{name}.columns: {{{missing[0]}: ...}}, "
            "or mine them with hard_negatives"
        )
    if inner.reads and not set(inner.reads) & set(columns):
        named = (
            " or name the column of its scores with columns: {score: ...}" if "score" in inner.reads else ""
        )
        raise DataError(
            f"datasets.{name}: the inner loss {inner.name} learns from the scores of a teacher; name one "
            f"with datasets.{name}.teacher{named}"
        )
