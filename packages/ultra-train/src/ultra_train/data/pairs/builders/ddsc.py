"""``ddsc``: about 968,000 synthetic retrieval pairs in Danish, Norwegian and Swedish.

``DDSC/nordic-embedding-training-data`` has one split, train, and the columns ``query``, ``positive``,
``negative`` (null in about 60 % of the rows), ``task`` (``retrieval``, ``text-matching-short``,
``text-matching-long``, ``unit-triple`` or ``classification``), ``language`` (``danish``, ``norwegian`` or
``swedish``), ``instruction``, ``prompt`` and ``response``. It is divided into 98 % train, 1 % dev, 1 % test.
Rows without a negative are pairs and the others triplets; these are two data sets, since the rows of a batch
must have the same columns.

The columns, values and counts are those that public training code names; the data set itself was not at hand
when this was written. On the hub it may ask for a login.
"""

from __future__ import annotations

from collections.abc import Callable

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.builders.options import BuilderOptions, language_codes
from ultra_train.data.pairs.builders.part import Part
from ultra_train.data.pairs.languages import language_code
from ultra_train.data.pairs.splitting import shares_of
from ultra_train.data.sources.rows import Row

HUB, FOLDER = "DDSC/nordic-embedding-training-data", "nordic-embedding-training-data"
TASKS = ("retrieval", "text-matching-short", "text-matching-long", "unit-triple", "classification")
_SHARES = (0.98, 0.01, 0.01)


def pairs(options: BuilderOptions) -> list[Part]:
    """Return the rows of ``ddsc`` without a negative."""
    return [_part(options, with_negative=False)]


def triplets(options: BuilderOptions) -> list[Part]:
    """Return the rows of ``ddsc`` with a negative."""
    return [_part(options, with_negative=True)]


def _part(options: BuilderOptions, *, with_negative: bool) -> Part:
    columns = {"anchor": "query", "positive": "positive"}
    return Part(
        hub=HUB,
        folder=FOLDER,
        columns={**columns, "negative": "negative"} if with_negative else columns,
        keeps=_filter(options, with_negative=with_negative),
        divide={"train": shares_of(options.split_ratio or _SHARES)},
    )


def _filter(options: BuilderOptions, *, with_negative: bool) -> Callable[[Row], bool]:
    languages = language_codes("ddsc", options.languages, ("no", "da", "sv"))
    tasks = tuple(options.tasks or TASKS)
    for task in tasks:
        if task not in TASKS:
            raise DataError(
                f"ddsc: there is no task {task!r}; there are {listed(TASKS)}.{did_you_mean(task, TASKS)}"
            )

    def keeps(row: Row) -> bool:
        has_negative = bool((row.get("negative") or "").strip())
        asked = language_code(row.get("language")) in languages
        return asked and has_negative == with_negative and (not options.tasks or row.get("task") in tasks)

    return keeps
