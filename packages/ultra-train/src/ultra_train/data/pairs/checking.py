"""Checking the rows of a data set of pairs, before any model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ultra_core.errors import listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.columns import ColumnFinder, ColumnMap
from ultra_train.data.pairs.kinds import NLI_LABELS, Kind
from ultra_train.data.pairs.split_names import Split, split_of_name
from ultra_train.data.row_checker import RowChecker, number_of, text_of

_LABELS = {name: number for number, name in enumerate(NLI_LABELS)} | {
    "entailed": 0,
    "e": 0,
    "n": 1,
    "contradictory": 2,
    "c": 2,
}
_UNLABELLED = {"-", "-1", ""}

BLANK = "empty text"
SAME = "negative equal to the positive"
UNLABELLED = "no label"


class CheckedRow(NamedTuple):
    """A row with canonical columns.

    Attributes:
        texts: the texts, in the order of the columns.
        target: score or class, or None if the kind has none.
        split: its split, or None.
    """

    texts: tuple[str, ...]
    target: float | int | None
    split: Split | None


class PairChecker(RowChecker):
    """Turns the rows of a data set into rows of a kind, and counts those that cannot be used.

    Rows with an empty text, without a label, or with a negative that equals the positive are dropped and
    counted. Everything else that is wrong is an error, since it means that the data set is not what the
    preset says.

    Args:
        source: the data set as the preset names it.
        kind: the kind of rows.
        columns: name of a column in the kind -> its name in the data set.
        labels: column -> the names of its classes by their number, where the data set has names.

    Attributes:
        columns: the columns of the first row, as the kind calls them.
        scores: least and greatest score, with the rows that have them.
        unused_target: a column of scores or classes that the kind does not read, or None.
    """

    def __init__(
        self,
        source: str,
        kind: Kind,
        columns: Mapping[str, str] | None = None,
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(source, kind.columns)
        self.kind = kind
        self.columns: tuple[str, ...] = ()
        self.scores: list[tuple[float, str]] = []
        self.unused_target: str | None = None
        self._labels = labels or {}
        self._finder = ColumnFinder(kind, columns)
        self._maps: dict[tuple[str, ...], ColumnMap] = {}

    def check(self, where: str, row: Mapping[str, Any], split: Split | None) -> Iterator[CheckedRow]:
        """Yield the rows of the kind that a row of the data set stands for: one, none, or one per positive.

        Args:
            where: the place of the row, for error messages.
            row: its values by column.
            split: the split of its file; without one, a column ``split`` may name it.

        Raises:
            DataError: a column is missing, or a value is none that its column may have.
        """
        names = tuple(row)
        columns = self._maps.get(names)
        if columns is None:
            columns = self._maps[names] = self._found(where, names)
        if split is None and columns.split is not None and isinstance(row[columns.split], str):
            split = split_of_name(row[columns.split])
        for values in _each_match([row[theirs] for _, theirs in columns.texts]):
            self.rows += 1
            texts = tuple(
                text_of(value, where, theirs)
                for value, (_, theirs) in zip(values, columns.texts, strict=True)
            )
            target = (
                self._target(row[columns.target[1]], where, columns.target[1]) if columns.target else None
            )
            if not all(texts):
                self.drop(BLANK, where)
            elif columns.target and target is None:
                self.drop(UNLABELLED, where)
            elif self.kind.negatives is not None and texts[1] in texts[2:]:
                self.drop(SAME, where)
            else:
                if self.kind.target == "score" and target is not None:
                    self._note_score(target, where)
                yield CheckedRow(texts, target, split)

    def _found(self, where: str, names: tuple[str, ...]) -> ColumnMap:
        columns = self._finder.find(where, names)
        if not self.columns:
            self.columns, self.unused_target = columns.canonical, columns.unused_target
        elif columns.canonical != self.columns:
            raise DataError(
                f"{where}: gives the columns {listed(columns.canonical)}, but the rows before it give "
                f"{listed(self.columns)}; read files of different layouts as different data sets."
            )
        return columns

    def _target(self, value: object, where: str, column: str) -> float | int | None:
        return (
            number_of(value, where, column, "a score")
            if self.kind.target == "score"
            else self._class(value, where, column)
        )

    def _class(self, value: object, where: str, column: str) -> int | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        name = "" if value is None else str(value).strip().lower()
        if name in _UNLABELLED:
            return None
        named = self._labels.get(column, NLI_LABELS)
        if name.isdecimal() and int(name) < len(named):
            name = named[int(name)].strip().lower()
        if name in _LABELS:
            return _LABELS[name]
        raise DataError(
            f"{where}: column {column!r} holds {value!r}, but a label of nli is one of {listed(NLI_LABELS)}, "
            "or their numbers 0, 1, 2."
        )

    def _note_score(self, score: float, where: str) -> None:
        if not self.scores:
            self.scores = [(score, where), (score, where)]
        elif score < self.scores[0][0]:
            self.scores[0] = (score, where)
        elif score > self.scores[1][0]:
            self.scores[1] = (score, where)


def _each_match(values: list[Any]) -> Iterator[list[Any]]:
    """Yield the values of the columns once for each positive; of several negatives, take the first.

    Some data sets keep positives and negatives in lists.
    """
    first, second, *others = values
    positives = (second or [None]) if isinstance(second, list) else [second]
    for positive in positives:
        yield [_first(first), positive, *map(_first, others)]


def _first(value: Any) -> Any:
    return (value or [None])[0] if isinstance(value, list) else value
