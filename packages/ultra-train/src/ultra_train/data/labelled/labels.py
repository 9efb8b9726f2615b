"""The list of labels of a data set: found in its rows, or given and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ultra_core.errors import did_you_mean, listed
from ultra_train.data.errors import DataError

_SHOWN = 20


def sorted_labels(found: Collection[str]) -> tuple[str, ...]:
    """Return labels in the order of their numbers if all are numbers, else in that of the alphabet."""
    if all(label.lstrip("-").isdecimal() for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def sorted_tags(found: Collection[str]) -> tuple[str, ...]:
    """Return tags with ``O`` first, then B and I of each entity, by name; every B has its I.

    A model needs the tag of every word that may follow, also where the data have no such word.
    """
    entities = sorted({tag[2:] for tag in found if tag != OUTSIDE})
    return (OUTSIDE, *(f"{begin}-{entity}" for entity in entities for begin in "BI"))


OUTSIDE = "O"
"""The tag of a word that is part of nothing."""


def check_tag(tag: str, where: str) -> None:
    """Raise unless a tag is one of BIO.

    Raises:
        DataError: it is not.
    """
    if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
        raise DataError(
            f"{where}: the tag {tag!r} is none of BIO: write O, B-NAME for the first word of a NAME and "
            "I-NAME for the words after it."
        )


def repaired(tags: Sequence[str]) -> list[str]:
    """Return tags in which every entity begins with B, as IOB2 has it; data in IOB1 begin it with I."""
    fixed = []
    before = OUTSIDE
    for tag in tags:
        if tag.startswith("I-") and before[2:] != tag[2:]:
            tag = f"B-{tag[2:]}"
        fixed.append(tag)
        before = tag
    return fixed


def check_known(label: str, known: Iterable[str], where: str) -> None:
    """Raise unless a label is in the list that a preset gives.

    Raises:
        DataError: it is not.
    """
    names = list(known)
    if label not in names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise DataError(
            f"{where}: the label {label!r} is not in labels, which has {listed(names[:_SHOWN])}{more}."
            f"{did_you_mean(label, names)}"
        )
