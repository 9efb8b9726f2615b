"""Reading data sets of pairs from files, folders, the hub or embedded data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import combine
from ultra_train.data.pairs.checking import CheckedRow, PairChecker
from ultra_train.data.pairs.identity import pairs_fingerprint
from ultra_train.data.pairs.kinds import KINDS, Kind, PairKind
from ultra_train.data.pairs.languages import LanguageFilter
from ultra_train.data.pairs.rows import PlacedRow, RowSource, open_rows
from ultra_train.data.pairs.scores import ScoreScale, scale_of
from ultra_train.data.pairs.split_names import SPLITS, Split
from ultra_train.data.pairs.splitting import SplitRatio, divide, shares_of
from ultra_train.data.pairs.store import RAW, PairStore
from ultra_train.data.pairs.writing import RawRows, write_raw, write_splits

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_FORMAT = 1
CACHE_DIR = "./temp_data/v2_dataset_cache"
_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class PairSource:
    """A data set of pairs, as a preset describes it.

    Attributes:
        source: file, folder, glob, ``ultra:<language>-commands``, or name of a data set of the hub.
        kind: what its rows are; see ``kinds.KINDS``.
        columns: name of a column in the kind -> its name in the data set; usual names are found without.
        name: configuration of a data set of the hub.
        languages: names or codes of the languages that are read, where a column says them; None or empty for
            all.
        split_ratio: the share of train, or those of train, dev and test, for data that have no splits.
        seed: seed of that division.
        score_range: lowest and highest score, where they are neither 0 and 1 nor those of STS.
    """

    source: str
    kind: PairKind
    columns: Mapping[str, str] = attrs.field(factory=dict)
    name: str | None = None
    languages: Sequence[str] | None = None
    split_ratio: SplitRatio | None = None
    seed: int = 42
    score_range: tuple[float, float] | None = None

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(
                f"{self.source}: there is no kind of pairs {self.kind!r}; there are {listed(list(KINDS))}."
                f"{did_you_mean(self.kind, KINDS)}"
            )
        if self.split_ratio is not None:
            shares_of(self.split_ratio)


def read_pairs(
    source: str,
    kind: PairKind,
    columns: Mapping[str, str] | None = None,
    *,
    split: Split = "train",
    name: str | None = None,
    max_rows: int | None = None,
    languages: Sequence[str] | None = None,
    split_ratio: SplitRatio | None = None,
    seed: int = 42,
    score_range: tuple[float, float] | None = None,
    cache_dir: str | Path = CACHE_DIR,
    notify: Notify = _log.warning,
) -> datasets.Dataset:
    """Return the rows of one split, with exactly the columns of their kind, memory-mapped.

    Args:
        source: file, folder, glob, ``ultra:<language>-commands``, or name of a data set of the hub.
        kind: what its rows are; see ``kinds.KINDS``.
        columns: name of a column in the kind -> its name in the data set; usual names are found without.
        split: ``"train"``, ``"dev"`` or ``"test"``; data without splits are all train.
        name: configuration of a data set of the hub.
        max_rows: most rows; if there are more, some are chosen evenly by ``seed``, in their order.
        languages: names or codes of the languages that are read, where a column says them; None or empty for
            all.
        split_ratio: the share of train, or those of train, dev and test, for data that have no splits.
        seed: seed of that division, and of the choice of rows.
        score_range: lowest and highest score, where they are neither 0 and 1 nor those of STS.
        cache_dir: folder of the caches.
        notify: is called with a line about dropped rows, changed scores, or an ignored ratio.

    Raises:
        DataError: the source is missing or broken, lacks a column or the split, or a row of it has no text or
            number where one is needed.
    """
    described = PairSource(
        source=source,
        kind=kind,
        columns=columns or {},
        name=name,
        languages=languages,
        split_ratio=split_ratio,
        seed=seed,
        score_range=score_range,
    )
    splits = read_splits(described, cache_dir=cache_dir, notify=notify)
    if split not in splits:
        raise DataError(
            f"{source}: has no split {split}, only {listed(list(splits))}. Name files by their split, such "
            f"as {split}.jsonl, or divide the rows with split_ratio."
        )
    return chosen_rows(splits[split], max_rows, seed)


def read_splits(
    source: PairSource,
    *,
    cache_dir: str | Path = CACHE_DIR,
    notify: Notify = _log.warning,
    for_training: bool = True,
) -> dict[Split, datasets.Dataset]:
    """Return the rows of every split that has any; see :func:`read_pairs`.

    Args:
        source: the data set.
        cache_dir: folder of the caches.
        notify: is called with a line about dropped rows, changed scores, or an ignored ratio.
        for_training: whether there must be rows to train on.

    Raises:
        DataError: see :func:`read_pairs`; there are no rows to train on.
    """
    rows = open_rows(source.source, source.kind, source.name, cache_dir)
    return read_rows_of(source, rows, cache_dir=cache_dir, notify=notify, for_training=for_training)


def read_rows_of(
    source: PairSource, rows: RowSource, *, cache_dir: str | Path, notify: Notify, for_training: bool = True
) -> dict[Split, datasets.Dataset]:
    """Return the rows of every split, where the rows come from elsewhere; see :func:`read_splits`."""
    identity = {"format": _FORMAT, **rows.identity, "described": attrs.asdict(source)}
    store = PairStore(cache_dir, identity, notify)
    about = store.about() or _build(store, source, rows)
    if for_training and "train" not in about["counts"]:
        raise DataError(
            f"{source.source}: has only rows of {listed(list(about['counts']))}, none to train on."
        )
    for line in about["notices"]:
        notify(line)
    return store.datasets(about["fingerprints"])


def chosen_rows(dataset: datasets.Dataset, max_rows: int | None, seed: int) -> datasets.Dataset:
    """Return at most that many rows, chosen evenly by the seed, in their order."""
    if max_rows is None or len(dataset) <= max_rows:
        return dataset
    order = np.argsort(combine(seed, np.arange(len(dataset), dtype=np.uint64)), kind="stable")
    fingerprint = f"{pairs_fingerprint(dataset)}-{max_rows}-{seed}"
    return dataset.select(np.sort(order[:max_rows]), new_fingerprint=fingerprint)


def _build(store: PairStore, source: PairSource, rows: RowSource) -> dict[str, Any]:
    kind = KINDS[source.kind]
    checker = PairChecker(source.source, kind, source.columns, rows.labels)
    notices: list[str] = []
    with store.building() as (folder, about):
        chosen = _chosen(rows, source)
        raw = write_raw(folder / RAW, _checked(chosen, checker), lambda: _schema(kind, checker))
        left_out = checker.finish()
        # scores that a kind does not need are those of a teacher, which stay as they are
        ranged = kind.target_required or source.score_range is not None
        scale = scale_of(source.source, checker.scores if ranged else [], source.score_range)
        splits = _splits(source, raw, notices)
        counts, fingerprints = write_splits(raw, splits, folder, lambda batch: _scaled(batch, scale))
        if left_out:
            notices.append(left_out)
        if scale.said:
            notices.append(scale.said)
        if checker.unused_target:
            notices.append(
                f"{source.source}: the column {checker.unused_target!r} is not read; {kind.name} takes every "
                "row as a match"
            )
        about.update(
            notices=notices, counts=counts, fingerprints=fingerprints, described=attrs.asdict(source)
        )
    return about


def _chosen(rows: RowSource, source: PairSource) -> Iterator[PlacedRow]:
    """Yield the rows in the languages that are asked for."""
    if not source.languages:
        yield from rows.rows()
        return
    languages = LanguageFilter(source.source, source.languages)
    for placed in rows.rows():
        if languages.accepts(placed.where, placed.row):
            yield placed
    languages.finish()


def _checked(rows: Iterator[PlacedRow], checker: PairChecker) -> Iterator[CheckedRow]:
    """Yield the rows that can be used, with their split."""
    for where, row, split in rows:
        yield from checker.check(where, row, split)


def _schema(kind: Kind, checker: PairChecker) -> pa.Schema:
    import pyarrow as pa

    numbers = {"score": pa.float64(), "label": pa.int64()}
    return pa.schema(
        [pa.field(name, numbers[name] if name == kind.target else pa.string()) for name in checker.columns]
    )


def _scaled(batch: pa.RecordBatch, scale: ScoreScale) -> pa.RecordBatch:
    import pyarrow.compute as pc

    if (scale.low, scale.high) == (0, 1):
        return batch
    index = batch.schema.get_field_index("score")
    scores = pc.divide(pc.subtract(batch.column(index), scale.low), scale.high - scale.low)
    return batch.set_column(index, batch.schema.field(index), scores)


def _splits(source: PairSource, raw: RawRows, notices: list[str]) -> NDArray[np.int8]:
    """Return the split of each row: its own, or a part of train."""
    own = raw.own_splits
    present = [split for number, split in enumerate(SPLITS) if (own == number).any()]
    splits = np.where(own < 0, np.int8(0), own)
    ratio = source.split_ratio
    if ratio is None:
        return splits
    if "dev" in present:
        notices.append(f"{source.source}: split_ratio has no effect, since the data have {listed(present)}")
        return splits
    train = splits == 0
    shares = shares_of(ratio)
    if "test" in present:
        shares = (1 - shares[1], shares[1], 0.0)
    try:
        splits[train] = divide(raw.groups[train], shares, source.seed)
    except DataError as error:
        raise DataError(f"{source.source}: {error}") from error
    return splits
