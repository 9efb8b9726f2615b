"""Finding the columns of a kind of rows among the columns of a data set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError
from ultra_train.data.pairs.kinds import KINDS, Kind, negative_columns, plain

_NEGATIVE = re.compile(r"(?:hard)?neg(?:ative)?s?(?:text|document|passage)?(\d*)")
_TARGETS = ("score", "label", "labels")
_MOST, _LONGEST = 20, 60  # columns, characters of a name


@attrs.frozen
class ColumnMap:
    """Where the columns of a kind stand in a data set.

    Attributes:
        texts: (canonical name, name in the data set) of the columns of texts, in the order of losses.
        target: the same of the score or class, or None.
        split: the column that names the split of each row, or None.
        unused_target: a column of scores or classes that is not read, since the kind does not need it.
    """

    texts: tuple[tuple[str, str], ...]
    target: tuple[str, str] | None = None
    split: str | None = None
    unused_target: str | None = None

    @property
    def canonical(self) -> tuple[str, ...]:
        """The names of the columns that are read, as the kind calls them."""
        return (*(name for name, _ in self.texts), *([self.target[0]] if self.target else []))


class ColumnFinder:
    """Finds the columns of a kind by their usual names, or by the names that a preset gives.

    Args:
        kind: the kind of rows.
        columns: name of a column in the kind -> its name in the data set.

    Raises:
        DataError: ``columns`` names a column that the kind does not have, or two that are the same.
    """

    def __init__(self, kind: Kind, columns: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._given = {_canonical(kind, key): value for key, value in (columns or {}).items()}
        if len(self._given) < len(columns or {}):
            raise DataError(
                f"columns names the same column of {kind.name} twice: {listed(list(columns or {}))}."
            )

    def find(self, where: str, found: Sequence[str]) -> ColumnMap:
        """Return where the columns stand.

        Args:
            where: the data set, or the row of it, for error messages.
            found: the columns that it has.

        Raises:
            DataError: a column is missing, or the data set is of another kind.
        """
        for canonical, theirs in self._given.items():
            if theirs not in found:
                raise DataError(
                    f"{where}: has no column {theirs!r}, which columns names as {canonical!r}; {_has(found)}."
                    f"{did_you_mean(theirs, found)}"
                )
        try:
            columns = self._map(found)
        except _MissingError as missing:
            raise self._missing(where, missing.column, found) from None
        if columns.unused_target and self.kind.name == "pairs" and not self._given:
            raise self._another_layout(where, found, columns.unused_target)
        return columns

    def fits(self, found: Sequence[str]) -> bool:
        """Return whether a data set with these columns is of the kind."""
        try:
            columns = self._map(found)
        except _MissingError:
            return False
        return self.kind.name != "pairs" or not columns.unused_target

    def _map(self, found: Sequence[str]) -> ColumnMap:
        taken = set(self._given.values())
        texts: list[tuple[str, str]] = []
        for canonical in self.kind.texts:
            theirs = self._given.get(canonical) or self._usual(canonical, found, taken)
            taken.add(theirs)
            texts.append((canonical, theirs))
        texts += self._negatives(found, taken)
        target, unused = self._target(found, taken)
        split = next((name for name in found if name == "split" and name not in taken), None)
        return ColumnMap(tuple(texts), target, split, unused)

    def _usual(self, canonical: str, found: Sequence[str], taken: set[str]) -> str:
        by_plain = {plain(name): name for name in reversed(found) if name not in taken}
        for name in self.kind.usual[canonical]:
            if name in by_plain:
                return by_plain[name]
        raise _MissingError(canonical)

    def _negatives(self, found: Sequence[str], taken: set[str]) -> Iterator[tuple[str, str]]:
        if self.kind.negatives is None:
            return
        given = sorted((name for name in self._given if name.startswith("negative")), key=_number)
        theirs = [self._given[name] for name in given] or sorted(
            (name for name in found if name not in taken and _NEGATIVE.fullmatch(plain(name))),
            key=lambda name: _number(plain(name)),
        )
        if not theirs and self.kind.name == "triplets":
            theirs = [name for name in found if plain(name) == "contradiction"]
        if len(theirs) < self.kind.negatives:
            raise _MissingError("negative")
        yield from zip(negative_columns(len(theirs)), theirs, strict=True)

    def _target(self, found: Sequence[str], taken: set[str]) -> tuple[tuple[str, str] | None, str | None]:
        """Return the column of the score or class, and one that is there but not read."""
        target = self.kind.target
        if target is not None and target in self._given:
            return (target, self._given[target]), None
        if target is not None and self.kind.target_required:
            return (target, self._usual(target, found, taken)), None
        return None, next((name for name in found if plain(name) in _TARGETS and name not in taken), None)

    def _missing(self, where: str, canonical: str, found: Sequence[str]) -> DataError:
        others = [kind for kind in KINDS.values() if kind is not self.kind and ColumnFinder(kind).fits(found)]
        hint = f" Its columns are those of {listed([kind.name for kind in others])}." if others else ""
        near = did_you_mean(canonical, found)
        return DataError(
            f"{where}: has no column for {canonical!r} of {self.kind.name} "
            f"({', '.join(self.kind.columns)}); {_has(found)}.{hint}{near} "
            f"Name the column with columns: {{{canonical}: ...}}."
        )

    def _another_layout(self, where: str, found: Sequence[str], unused: str) -> DataError:
        return DataError(
            f"{where}: has a column {unused!r}, but in pairs every row is taken as a match; {_has(found)}. "
            "Use the kind paired_similarity or nli, or name the columns of the pairs with "
            "columns: {anchor: ..., positive: ...} if every row is a match all the same."
        )


class _MissingError(LookupError):
    """Raised when a data set has no column for one of a kind."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def _canonical(kind: Kind, key: str) -> str:
    """Return the column of a kind that a key of ``columns`` means, by its name or another usual one."""
    negative = kind.negatives is not None and _NEGATIVE.fullmatch(plain(key))
    if negative:
        return negative_columns(max(1, int(negative[1] or 1)))[-1]
    if key in kind.usual:
        return key
    meant = [column for column, names in kind.usual.items() if plain(key) in names]
    if len(meant) == 1:
        return meant[0]
    allowed = [*kind.usual, *(["negative"] if kind.negatives is not None else [])]
    raise DataError(
        f"columns: {kind.name} has no column {key!r}; it has {listed(allowed)}.{did_you_mean(key, allowed)} "
        "The name in the task stands before the colon, the name in the data set after it."
    )


def _number(name: str) -> int:
    digits = re.search(r"(\d+)$", name)
    return int(digits[1]) if digits else 0


def _has(found: Sequence[str]) -> str:
    names = [repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...") for name in found[:_MOST]]
    more = f" and {len(found) - _MOST:,} more" if len(found) > _MOST else ""
    return f"its columns are {listed(names)}{more}"
