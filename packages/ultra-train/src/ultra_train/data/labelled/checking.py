"""Rows of a data set as labelled rows, checked before any model is loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from ultra_train.data.errors import DataError
from ultra_train.data.labelled.labels import check_known, check_tag, repaired
from ultra_train.data.pairs.columns import ColumnFinder, ColumnMap
from ultra_train.data.pairs.kinds import Kind, make_kind

Problem = Literal["single_label", "multi_label", "regression", "tags"]
"""What a label is: a class, some classes, a number, or a tag of every word."""

_TEXT = "sentence utterance query question content review comment tweet body sentence1 text1 premise title"
_PAIR = "sentence2 text2 hypothesis answer passage document"
_LABEL = "labels intent class category target topic sentiment score rating"
_UNLABELLED = "no label"
_EMPTY = "empty text"


def kind_of_rows(problem: Problem, columns: Mapping[str, str]) -> Kind:
    """Return the columns that rows have; ``text_pair`` is one of them where ``columns`` names it."""
    if problem == "tags":
        usual = {"tokens": "words word token", "tags": "nertags labels label slots tag bio"}
        return make_kind("tagged_words", usual, target="tags")
    texts = {"text": _TEXT, **({"text_pair": _PAIR} if "text_pair" in columns else {})}
    return make_kind("labelled_texts", {**texts, "label": _LABEL}, target="label")


@attrs.define
class LabelledChecker:
    """Turns the rows of a data set into labelled rows, and counts those that cannot be used.

    Rows with an empty text or without a label are left out and counted; what else is wrong is an error.

    Attributes:
        source: the data set as the preset names it.
        problem: what a label is.
        columns: name of a column in the task -> its name in the data set.
        classes: column -> the names of its classes by their number, where the data set has names.
        known: the labels that are allowed; None for any.
        separator: what separates the labels of a text where they are one value.
    """

    source: str
    problem: Problem
    columns: Mapping[str, str]
    classes: Mapping[str, Sequence[str]]
    known: Sequence[str] | None = None
    separator: str = "|"
    rows: int = attrs.field(init=False, default=0)
    dropped: Counter[str] = attrs.field(init=False, factory=Counter)
    examples: dict[str, str] = attrs.field(init=False, factory=dict)
    _maps: dict[tuple[str, ...], ColumnMap] = attrs.field(init=False, factory=dict)

    def check(self, where: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the values by canonical column, or None for a row that cannot be used.

        Raises:
            DataError: a column is missing, or a value is none that its column may have.
        """
        self.rows += 1
        names = tuple(row)
        if names not in self._maps:
            self._maps[names] = ColumnFinder(kind_of_rows(self.problem, self.columns), self.columns).find(
                where, names
            )
        found = self._maps[names]
        assert found.target is not None
        target, column = found.target
        if self.problem == "tags":
            return self._tagged(row, found.texts[0][1], column, where)
        made: dict[str, Any] = {name: self._text(row[theirs], where, theirs) for name, theirs in found.texts}
        if not all(made.values()):
            self._drop(_EMPTY, where)
            return None
        value = self._label(row[column], where, column)
        if value is None:
            self._drop(_UNLABELLED, where)
            return None
        return {**made, target: value}

    def finish(self) -> str | None:
        """Return a line about the rows that were left out, or None.

        Raises:
            DataError: there are no rows, or most were left out.
        """
        left_out = sum(self.dropped.values())
        if not self.rows:
            raise DataError(f"{self.source}: has no rows.")
        if not left_out:
            return None
        reasons = "; ".join(
            f"{count:,} {reason}, the first at {self.examples[reason]}"
            for reason, count in self.dropped.most_common()
        )
        if 2 * left_out > self.rows:
            raise DataError(
                f"{self.source}: {left_out:,} of {self.rows:,} rows cannot be used ({reasons}). Name the "
                "right columns with columns: {...}."
            )
        return f"{self.source}: rows left out: {reasons}"

    def _drop(self, reason: str, where: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)

    def _text(self, value: object, where: str, column: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise DataError(f"{where}: column {column!r} holds {type(value).__name__}, but a text is needed.")
        return value if value.strip() else ""

    def _label(self, value: object, where: str, column: str) -> Any:
        if self.problem == "regression":
            return self._number(value, where, column)
        if self.problem == "single_label":
            return self._name(value, where, column)
        if value is None:
            return None
        parts = value.split(self.separator) if isinstance(value, str) else value
        if not isinstance(parts, list):
            parts = [parts]
        named = (self._name(part, where, column) for part in parts)
        return list(dict.fromkeys(name for name in named if name is not None))

    def _number(self, value: object, where: str, column: str) -> float | None:
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except ValueError:
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise DataError(f"{where}: column {column!r} holds {value!r}, but a finite number is needed.")
        return number

    def _name(self, value: object, where: str, column: str) -> str | None:
        """Return the name of a label, or None for no label."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is not None and not isinstance(value, str | int):
            raise DataError(
                f"{where}: column {column!r} holds {value!r} ({type(value).__name__}), but a label is a name "
                "or a whole number."
            )
        names = self.classes.get(column)
        if names is not None and isinstance(value, int) and not isinstance(value, bool):
            if value == -1:  # how the hub says that a row of a test split has no label
                return None
            if not 0 <= value < len(names):
                raise DataError(f"{where}: column {column!r} holds class {value} of {len(names)}.")
            value = names[value]
        name = "" if value is None else str(value).strip()
        if name and self.known is not None:
            check_known(name, self.known, where)
        return name or None

    def _tagged(
        self, row: Mapping[str, Any], words_in: str, tags_in: str, where: str
    ) -> dict[str, Any] | None:
        words, tags = (_several(row[column], where, column) for column in (words_in, tags_in))
        if not words:
            self._drop(_EMPTY, where)
            return None
        if len(words) != len(tags):
            raise DataError(
                f"{where}: {len(words)} words in {words_in!r}, but {len(tags)} tags in {tags_in!r}; every "
                "word needs one tag."
            )
        if blank := [word for word in words if not isinstance(word, str) or not word.strip()]:
            raise DataError(f"{where}: column {words_in!r} holds {blank[0]!r} among its words.")
        names = [self._name(tag, where, tags_in) for tag in tags]
        if None in names:
            self._drop(_UNLABELLED, where)
            return None
        for name in names:
            check_tag(str(name), where)
        return {"tokens": words, "tags": repaired([str(name) for name in names])}


def _several(value: object, where: str, column: str) -> list[Any]:
    """Return the items of a list; of a text, as tables have it, the parts between blanks."""
    if value is None:
        return []
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list):
        raise DataError(
            f"{where}: column {column!r} holds {type(value).__name__}, but a list is needed, or a text with "
            "blanks between its items."
        )
    return value
