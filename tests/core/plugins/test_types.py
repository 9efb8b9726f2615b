import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Optional

import attrs
import pytest

from ultra_core.contracts import Range
from ultra_core.plugins.types import TypeVisitor, is_plain, is_writable, mismatch, words

Count = Annotated[int, Range(min=1)]


@attrs.frozen
class Section:
    key: int = 1


FITS = [
    (True, bool),
    (3, int),
    (3, float),
    (3.5, float),
    ("x", str),
    (None, type(None)),
    (None, int | None),
    ("a", Literal["a", 1]),
    (1, Literal["a", 1]),
    ([1, 2], list[int]),
    ((1, 2), Sequence[int]),
    ([1, 2.5], tuple[int, float]),
    ([], tuple[int, ...]),
    ([1, "x"], list),
    ({"a": [1]}, dict[str, list[int]]),
    ({"a": object()}, Mapping),
    (object(), Any),
    (4, Count),
    ([4], list[Count]),
    (0.5, Annotated[float, Range(gt=0, lt=1)]),
    (None, Annotated[int | None, Range(min=1)]),
]
FITS_NOT = [
    (1, bool, "true or false"),
    ("false", bool, "true or false"),
    (True, int, "a whole number"),
    (2.0, int, "a whole number"),
    ("3", int, "a whole number"),
    (True, float, "a number"),
    (1, str, "a string"),
    (0, type(None), "null"),
    (True, Literal[1], "one of 1"),
    (1.0, Literal[1], "one of 1"),
    ("x", int | None, "a whole number or null"),
    ("ab", list[str], "a list, each item a string"),
    ([1, "x"], list[int], "a list, each item a whole number"),
    ([1], tuple[int, int], "a list of 2 values (a whole number, a whole number)"),
    ({"a": 1}, dict[str, str], "a mapping, each value a string"),
    ({1: "a"}, dict[str, str], "a mapping, each value a string"),
    ([1], dict[str, Any], "a mapping"),
    ({"c": 1}, dict[Literal["a", "b"], int], "a mapping with keys among 'a', 'b', each value a whole number"),
    ("x", list, "a list"),
    (0, Count, "a number >= 1"),
    ([0], list[Count], "a list, each item a whole number >= 1"),
    (0, Count | None, "a whole number >= 1 or null"),
    (0, Annotated[int | None, Range(min=1)], "a number >= 1"),
    (math.nan, Annotated[float, Range(min=0)], "a number >= 0"),
    (math.inf, Annotated[float, Range(lt=math.inf)], "a number that is finite"),
    (1, Annotated[float, Range(gt=0, lt=1)], "a number > 0 and < 1"),
]


@pytest.mark.parametrize(("value", "hint"), FITS)
def test_what_fits(value, hint):
    assert mismatch(value, hint) is None


@pytest.mark.parametrize(("value", "hint", "expected"), FITS_NOT)
def test_what_does_not_fit_is_not_coerced(value, hint, expected):
    assert mismatch(value, hint) == f"expected {expected}"


def test_bounds_from_outside():
    assert mismatch(0, int, Range(min=1)) == "expected a number >= 1"
    assert words(int | None, Range(max=9)) == "a whole number <= 9 or null"


def test_members_of_a_union_that_yaml_cannot_write_are_not_mentioned():
    assert words(str | Mapping[str, Mapping] | Callable) == "a string or a mapping, each value a mapping"
    assert words(Section | None) == "a mapping or null"
    assert words(Callable | None) == "null"


def test_plain_and_writable():
    assert is_plain(int | None)
    assert is_plain(dict[str, Any])
    assert is_plain(str | Callable)
    assert not is_plain(Callable)
    assert not is_plain(Any)
    assert not is_plain(Section)
    assert not is_plain(type(None) | Callable)
    assert is_writable(Section)
    assert is_writable(Any)
    assert is_writable(tuple[str | Section, ...])
    assert not is_writable(list[Callable])


class Kinds(TypeVisitor):
    """Returns the name of the method that is called, and its parts."""

    def __getattr__(self, name):
        return lambda hint, *parts: (name, *parts)

    def annotated(self, hint, base, *extras):
        return ("annotated", base, *extras)

    def other(self, hint, *parts):
        return ("other", *parts)


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (int, ("scalar",)),
        (None, ("scalar",)),
        (Any, ("anything",)),
        (Literal["a", 1], ("literal", "a", 1)),
        (int | str, ("union", int, str)),
        (Optional[int], ("union", int, type(None))),  # noqa: UP045 - another type than ``int | None``
        (list[int], ("sequence", int)),
        (Sequence[int], ("sequence", int)),
        (tuple[int, ...], ("sequence", int)),
        (tuple, ("sequence", Any)),
        (tuple[int, str], ("fixed_tuple", int, str)),
        (Mapping[str, int], ("mapping", str, int)),
        (dict, ("mapping", Any, Any)),
        (Section, ("section",)),
        (Count, ("annotated", int, Range(min=1))),
        (Callable[[int], int], ("other",)),
        (set[int], ("other",)),
    ],
)
def test_a_visitor_calls_the_method_of_the_kind_with_the_parts(hint, kind):
    assert Kinds().visit(hint) == kind


def test_kinds_without_a_method_are_other_and_annotations_are_looked_through():
    class Numbers(TypeVisitor):
        def scalar(self, hint):
            return hint

        def other(self, hint, *parts):
            return None

    assert Numbers().visit(Count) is int
    assert Numbers().visit(list[int]) is None
    with pytest.raises(TypeError, match="other"):
        TypeVisitor()
