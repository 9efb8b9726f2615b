"""Mining hard negatives: texts that a model takes for answers and that are none.

``sentence_transformers.util.mine_hard_negatives`` searches the answers of all other queries. No answer of the
query itself is a negative, and neither is a text that differs from one of them, or from the query, only in
case or spaces. The parameters are those of NV-Retriever (Moreira et al., arXiv:2407.15831).
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from ultra_core.errors import listed
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.hashing import text_hash
from ultra_train.data.pairs.identity import text_columns
from ultra_train.data.pairs.kinds import negative_columns
from ultra_train.data.pairs.steps.model_identity import model_identity
from ultra_train.data.pairs.steps.stored import StoredStep

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

_SPARE = 3
"""Candidates that are mined beyond the ones that are wanted, in place of those that are no negatives."""
_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class HardNegatives:
    """How hard negatives are chosen.

    Attributes:
        model: folder or hub name of the dense encoder that finds them.
        per_query: negatives of each row.
        range_min: number of the nearest texts that are passed over, since they may be answers.
        range_max: rank of the farthest text that may be a negative; None for as many as are needed.
        margin: least distance of a negative's similarity below that of the answer.
        relative_margin: the same as a share of the answer's similarity; 0.05 is a good value.
        max_score: greatest similarity of a negative.
        sampling: ``"top"`` takes the nearest ones, ``"random"`` any in the range.
        batch_size: texts that are encoded at a time.
        seed: seed of ``"random"``.

    Raises:
        DataError: the range holds fewer texts than are wanted.
    """

    model: str
    per_query: int = 1
    range_min: int = 0
    range_max: int | None = None
    margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    sampling: Literal["top", "random"] = "top"
    batch_size: int = 32
    seed: int = 42

    def __attrs_post_init__(self) -> None:
        if self.per_query < 1 or self.range_min < 0:
            raise DataError("hard_negatives: per_query must be at least 1, and range_min at least 0.")
        if self.range_max is not None and self.range_max - self.range_min < self.per_query:
            raise DataError(
                f"hard_negatives: there are {max(0, self.range_max - self.range_min)} texts from range_min "
                f"{self.range_min} to range_max {self.range_max}, but per_query is {self.per_query}."
            )


def mine(
    dataset: datasets.Dataset,
    options: HardNegatives,
    load: Callable[[], SentenceTransformer],
    *,
    cache_dir: str | Path,
    notify: Notify = _log.warning,
) -> datasets.Dataset:
    """Return the pairs with the columns ``negative``, ``negative_2``, ... added.

    Rows for which too few negatives are found are left out, which is said.

    Args:
        dataset: rows of two texts, a query and an answer.
        options: how negatives are chosen.
        load: loads the encoder; it is called only when the result is not on disk.
        cache_dir: folder of the caches.
        notify: is called with a line about rows that are left out.

    Raises:
        DataError: the rows have negatives already, the model is no dense encoder, or no negatives are found.
    """
    columns = text_columns(dataset)
    if len(columns) != 2:
        raise DataError(
            "hard_negatives: pairs of a query and an answer are needed, but the columns are "
            f"{listed(columns)}."
        )
    about = {"model": model_identity(options.model), "options": attrs.asdict(options)}

    def make(notices: list[str]) -> Iterator[pa.RecordBatch]:
        mined = _mined(dataset, columns, options, load())
        left_out = len({*zip(dataset[columns[0]], dataset[columns[1]], strict=True)}) - mined.num_rows
        if not mined.num_rows:
            raise DataError(
                f"hard_negatives: no query has {options.per_query} negatives within these limits; widen "
                "range_max, or lower margin, relative_margin or per_query."
            )
        if left_out:
            notices.append(
                f"hard_negatives: {left_out:,} of {left_out + mined.num_rows:,} rows are left out, since "
                f"they have fewer than {options.per_query} negatives"
            )
        yield from mined.to_batches(max_chunksize=10_000)

    return StoredStep("hard-negatives", dataset, about, cache_dir, notify).rows(make)


def _mined(
    dataset: datasets.Dataset, columns: Sequence[str], options: HardNegatives, model: SentenceTransformer
) -> pa.Table:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    if not isinstance(model, SentenceTransformer):
        raise DataError(
            f"hard_negatives: {options.model} is a {type(model).__name__}, but a dense encoder is needed."
        )
    wanted = options.per_query + _SPARE
    if options.range_max is not None:
        wanted = min(wanted, options.range_max - options.range_min)
    with _seeded(options.seed):
        triplets = mine_hard_negatives(
            dataset.select_columns(list(columns)),
            model,
            num_negatives=wanted,
            range_min=options.range_min,
            range_max=options.range_max,
            absolute_margin=options.margin,
            relative_margin=options.relative_margin,
            max_score=options.max_score,
            sampling_strategy=options.sampling,
            batch_size=options.batch_size,
            verbose=False,
        )
    answers: dict[str, set[str]] = defaultdict(set)
    for query, answer in zip(dataset[columns[0]], dataset[columns[1]], strict=True):
        answers[query].update((_plain(query), _plain(answer)))
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for query, answer, negative in zip(*(triplets[name] for name in triplets.column_names), strict=True):
        if _plain(negative) not in answers[query]:
            found[query, answer].append(negative)
    rows = [
        (*pair, *_chosen(negatives, options))
        for pair, negatives in found.items()
        if len(negatives) >= options.per_query
    ]
    names = [*columns, *negative_columns(options.per_query)]
    values = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, values, strict=True)})


def _chosen(negatives: Sequence[str], options: HardNegatives) -> Sequence[str]:
    """Return the negatives of a row: the nearest ones, or any."""
    if options.sampling == "random":
        negatives = sorted(negatives, key=lambda text: text_hash(f"{options.seed} {text}"))
    return negatives[: options.per_query]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the random numbers of Python for a block, which the library draws candidates with."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
