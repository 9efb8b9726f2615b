"""Rows of a data set as labelled rows, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ultra_train.data.errors import DataError
from ultra_train.data.labelled.labels import check_known, check_tag, repaired
from ultra_train.data.pairs.columns import ColumnFinder, ColumnMap
from ultra_train.data.pairs.kinds import Kind, make_kind
from ultra_train.data.row_checker import RowChecker, number_of, text_of

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


class LabelledChecker(RowChecker):
    """Turns the rows of a data set into labelled rows, and counts those that cannot be used.

    Rows with an empty text or without a label are left out and counted; what else is wrong is an error.

    Args:
        source: the data set as the preset names it.
        problem: what a label is.
        columns: name of a column in the task -> its name in the data set.
        classes: column -> the names of its classes by their number, where the data set has names.
        known: the labels that are allowed; None for any.
        separator: what separates the labels of a text where they are one value.
    """

    def __init__(
        self,
        source: str,
        problem: Problem,
        columns: Mapping[str, str],
        classes: Mapping[str, Sequence[str]],
        known: Sequence[str] | None = None,
        separator: str = "|",
    ) -> None:
        kind = kind_of_rows(problem, columns)
        super().__init__(source, kind.columns)
        self.problem, self.classes, self.known, self.separator = problem, classes, known, separator
        self._finder = ColumnFinder(kind, columns)
        self._maps: dict[tuple[str, ...], ColumnMap] = {}

    def check(self, where: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the values by canonical column, or None for a row that cannot be used.

        Raises:
            DataError: a column is missing, or a value is none that its column may have.
        """
        self.rows += 1
        names = tuple(row)
        if names not in self._maps:
            self._maps[names] = self._finder.find(where, names)
        found = self._maps[names]
        assert found.target is not None
        target, column = found.target
        if self.problem == "tags":
            return self._tagged(row, found.texts[0][1], column, where)
        made: dict[str, Any] = {name: text_of(row[theirs], where, theirs) for name, theirs in found.texts}
        if not all(made.values()):
            self.drop(_EMPTY, where)
            return None
        value = self._label(row[column], where, column)
        if value is None:
            self.drop(_UNLABELLED, where)
            return None
        return {**made, target: value}

    def _label(self, value: object, where: str, column: str) -> Any:
        if self.problem == "regression":
            return number_of(value, where, column, "a label")
        if self.problem == "single_label":
            return self._name(value, where, column)
        if value is None:
            return None
        parts = value.split(self.separator) if isinstance(value, str) else value
        if not isinstance(parts, list):
            parts = [parts]
        named = (self._name(part, where, column) for part in parts)
        return list(dict.fromkeys(name for name in named if name is not None))

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
            self.drop(_EMPTY, where)
            return None
        if len(words) != len(tags):
            raise DataError(
                f"{where}: {len(words)} words in {words_in!r}, but {len(tags)} tags in {tags_in!r}; every "
                "word needs one tag."
            )
        if blank := [word for word in words if not text_of(word, where, words_in)]:
            raise DataError(f"{where}: column {words_in!r} holds {blank[0]!r} among its words.")
        names = [self._name(tag, where, tags_in) for tag in tags]
        if None in names:
            self.drop(_UNLABELLED, where)
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
