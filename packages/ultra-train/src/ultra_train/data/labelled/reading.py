"""Reading labelled rows from files, folders, the hub or embedded data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ultra_core.errors import listed
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.labelled.checking import LabelledChecker, Problem, kind_of_rows
from ultra_train.data.labelled.commands import labelled_commands
from ultra_train.data.labelled.labels import sorted_labels, sorted_tags
from ultra_train.data.pairs.rows import open_rows
from ultra_train.data.pairs.split_names import SPLITS, Split, split_of_name

if TYPE_CHECKING:
    from datasets import Dataset


@attrs.frozen(kw_only=True)
class LabelledSource:
    """A labelled data set, as a preset describes it.

    Attributes:
        source: file, folder, glob, ``ultra:<language>-commands``, or name of a data set of the hub.
        problem: what a label is.
        columns: name of a column in the task -> its name in the data set; usual names are found without.
        name: configuration of a data set of the hub.
        labels: the labels, in the order of the model; None: those that the rows have.
        separator: what separates the labels of a text where they are one value.
    """

    source: str
    problem: Problem
    columns: Mapping[str, str] = attrs.field(factory=dict)
    name: str | None = None
    labels: Sequence[str] | None = None
    separator: str = "|"


@attrs.frozen
class LabelledRows:
    """The rows of a data set in memory.

    Attributes:
        splits: the rows of every split that has any. Their columns are ``text``, perhaps ``text_pair``, and
            ``label``; or ``tokens`` and ``tags``.
        labels: the labels in the order of the model; none for numbers.
    """

    splits: Mapping[Split, Dataset]
    labels: tuple[str, ...]


def read_labelled(source: LabelledSource, *, cache_dir: str | Path, notify: Notify) -> LabelledRows:
    """Return the rows of every split, and their labels.

    Args:
        source: the data set.
        cache_dir: folder of the caches.
        notify: is called with a line about rows that are left out.

    Raises:
        DataError: the data set is missing or broken, lacks a column, has a value that is no label, has no
            rows to train on, or only one label.
    """
    kind = kind_of_rows(source.problem, source.columns)
    rows = open_rows(source.source, kind.name, source.name, cache_dir, commands=labelled_commands)
    checker = LabelledChecker(
        source.source, source.problem, source.columns, rows.labels, source.labels, source.separator
    )
    found: dict[Split, list[dict[str, Any]]] = {}
    for where, row, split in rows.rows():
        if split is None and isinstance(row.get("split"), str):
            split = split_of_name(row["split"])
        if (made := checker.check(where, row)) is not None:
            found.setdefault(split or "train", []).append(made)
    if (line := checker.finish()) is not None:
        notify(line)
    if "train" not in found:
        raise DataError(f"{source.source}: has only rows of {listed(list(found))}, none to train on.")
    return LabelledRows(
        {split: _dataset(found[split]) for split in SPLITS if split in found},
        () if source.problem == "regression" else _labels(source, found, notify),
    )


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    import datasets

    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in rows[0]})


def _labels(
    source: LabelledSource, found: Mapping[Split, list[dict[str, Any]]], notify: Notify
) -> tuple[str, ...]:
    column = "tags" if source.problem == "tags" else "label"
    used = {split: {one for row in rows for one in _listed(row[column])} for split, rows in found.items()}
    every = set().union(*used.values())
    order = sorted_tags if source.problem == "tags" else sorted_labels
    labels = tuple(source.labels) if source.labels is not None else order(every)
    if len(labels) < 2 and source.problem != "multi_label":
        raise DataError(f"{source.source}: has only the label {listed(list(labels))}, so nothing is learnt.")
    for split, names in used.items():
        if unseen := sorted(names - used["train"]):
            notify(f"{source.source}: {split} has labels that no row to train on has: {listed(unseen[:10])}")
    return labels


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
