"""Reading the pairs and triplets of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.kinds import PairKind
from ultra_train.data.pairs.reading import PairSource, read_splits
from ultra_train.evaluation.pair_measures import HEADLINES, PairTask
from ultra_train.evaluation.pairs import PairSet

_KINDS: Mapping[PairTask, PairKind] = {
    "sts": "paired_similarity",
    "triplets": "triplets",
    "binary": "paired_similarity",
}
_PREFERRED = ("test", "dev", "train")
ALL = "all rows"
"""Name of the split of data without several."""


def read_pair_set(
    source: str,
    task: str,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> PairSet:
    """Read the pairs or triplets of one split.

    Args:
        source: file, folder, glob, or name of a data set of the hub.
        task: ``sts``, ``triplets`` or ``binary``.
        split: the split; by default the first one there is of test, dev and train.
        columns: name of a column as ultra calls it -> its name in the data.
        notify: is called with a line about rows that are left out.

    Raises:
        DataError: the source is missing or broken, lacks a column or the split, or a row cannot be used.
        UltraError: the rows have no measure.
    """
    kind = _KINDS[cast("PairTask", task)]
    with TemporaryDirectory(prefix="ultra-") as cache:
        described = PairSource(source=source, kind=kind, columns=columns or {})
        splits = {
            str(name): rows
            for name, rows in read_splits(
                described, cache_dir=cache, notify=notify, for_training=False
            ).items()
        }
        chosen = split or next(name for name in _PREFERRED if name in splits)
        if chosen not in splits:
            raise DataError(f"{source}: has no split {chosen!r}, only {listed(list(splits))}.")
        rows = splits[chosen]
        texts = {name: list(rows[name]) for name in rows.column_names if name != "score"}
        scores = np.array(rows["score"] if "score" in rows.column_names else [], dtype=np.float64)
    pairs = PairSet(
        name=Path(source).name.split(".")[0],
        split=chosen if split or len(splits) > 1 else ALL,
        task=cast("PairTask", task),
        columns=texts,
        scores=scores,
    )
    pairs.check()
    return pairs


TASKS = tuple(HEADLINES)
"""The tasks on pairs and triplets."""
