"""The types whose values YAML can write: a visitor, and the questions that plugins and presets ask."""

from __future__ import annotations

import collections.abc
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from ultra_core.contracts import Range

R = TypeVar("R")

SCALARS: tuple[Any, ...] = (bool, int, float, str, type(None))


class TypeVisitor(ABC, Generic[R]):
    """Dispatches on the kind of a type, as ``ast.NodeVisitor`` does on the kind of a syntax node.

    A subclass defines the methods that it needs. Each receives the type and its parts:

    - ``scalar(hint)`` for one of ``SCALARS`` and ``literal(hint, *choices)``,
    - ``union(hint, *members)``,
    - ``annotated(hint, base, *extras)``, which visits the base unless it is overridden,
    - ``sequence(hint, item)`` for ``list[item]``, ``Sequence[item]`` and ``tuple[item, ...]``,
      ``fixed_tuple(hint, *items)`` for ``tuple[A, B]``,
    - ``mapping(hint, key, value)`` for ``dict`` and ``Mapping`` (parts that the type leaves out are Any),
    - ``section(hint)`` for an attrs class, which YAML writes as a mapping of its fields,
    - ``anything(hint)`` for Any,
    - ``other(hint, *parts)`` for types that YAML cannot write and for kinds without a method.
    """

    def visit(self, hint: Any) -> R:
        """Call the method for this kind of type and return its result."""
        kind, *parts = _kind_and_parts(hint)
        return getattr(self, kind, self.other)(type(None) if hint is None else hint, *parts)

    def annotated(self, hint: Any, base: Any, *extras: Any) -> R:
        """Visit the base of ``Annotated[base, *extras]``."""
        return self.visit(base)

    @abstractmethod
    def other(self, hint: Any, *parts: Any) -> R:
        """Handle a type that has no method of its own."""


def _kind_and_parts(hint: Any) -> tuple[Any, ...]:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return "annotated", *args
    if hint is Any:
        return ("anything",)
    if hint is None or hint in SCALARS:
        return ("scalar",)
    if origin is Literal:
        return "literal", *args
    if origin in (Union, types.UnionType):
        return "union", *args
    if origin is tuple and args and args[-1] is not Ellipsis:
        return "fixed_tuple", *args
    if origin in (list, tuple, collections.abc.Sequence):
        return "sequence", *(args[:1] or (Any,))
    if origin in (dict, collections.abc.Mapping):
        return "mapping", *(args or (Any, Any))
    return ("section" if hasattr(origin, "__attrs_attrs__") else "other",)


def split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Annotated[X, ...]`` into ``X`` and its annotations."""
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        return base, tuple(extras)
    return hint, ()


def range_of(extras: tuple[Any, ...]) -> Range | None:
    """Return the range among annotations."""
    return next((extra for extra in extras if isinstance(extra, Range)), None)


def is_plain(hint: Any) -> bool:
    """Whether a preset can set an option of this type: numbers, strings, choices, lists and mappings of them.

    A union is plain when a member other than None is; the others are for callers in Python.
    """
    return _Plain().visit(hint)


class _Plain(TypeVisitor[bool]):
    def scalar(self, hint: Any, *choices: Any) -> bool:
        return True

    literal = scalar

    def union(self, hint: Any, *members: Any) -> bool:
        return any(self.visit(member) for member in members if member is not type(None))

    def sequence(self, hint: Any, *items: Any) -> bool:
        return all(item is Any or self.visit(item) for item in items)

    fixed_tuple = mapping = sequence

    def other(self, hint: Any, *parts: Any) -> bool:
        return False


def is_writable(hint: Any) -> bool:
    """Whether a field of a configuration class may have this type: plain types, sections, Any, lists of them.

    Members of a union that are not writable, such as callables, are there for Python alone.
    """
    return _Writable().visit(hint)


class _Writable(_Plain):
    anything = section = _Plain.scalar


def mismatch(value: Any, hint: Any, bounds: Range | None = None) -> str | None:
    """Return what was expected when a plain value does not fit a type, else None.

    Nothing is coerced; an int fits a float.
    """
    base, extras = split(hint)
    bounds = range_of(extras) or bounds
    if not _Fits(value).visit(base):
        return f"expected {words(base, bounds)}"
    return f"expected a number {bounds}" if bounds and is_outside(value, bounds) else None


def is_outside(value: Any, bounds: Range) -> bool:
    """Whether a value is a number outside of bounds."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value not in bounds


class _Fits(TypeVisitor[bool]):
    def __init__(self, value: Any) -> None:
        self.value = value

    def annotated(self, hint: Any, base: Any, *extras: Any) -> bool:
        bounds = range_of(extras)
        return self.visit(base) and not (bounds and is_outside(self.value, bounds))

    def anything(self, hint: Any) -> bool:
        return True

    def scalar(self, hint: Any) -> bool:
        if hint in (int, float):
            return isinstance(self.value, (int, hint)) and not isinstance(self.value, bool)
        return isinstance(self.value, hint)

    def literal(self, hint: Any, *choices: Any) -> bool:
        return any(type(self.value) is type(choice) and self.value == choice for choice in choices)

    def union(self, hint: Any, *members: Any) -> bool:
        return any(map(self.visit, members))

    def fixed_tuple(self, hint: Any, *items: Any) -> bool:
        is_list = isinstance(self.value, (list, tuple)) and len(self.value) == len(items)
        return is_list and all(
            _Fits(value).visit(item) for value, item in zip(self.value, items, strict=True)
        )

    def sequence(self, hint: Any, item: Any) -> bool:
        return isinstance(self.value, (list, tuple)) and all(_Fits(value).visit(item) for value in self.value)

    def mapping(self, hint: Any, key: Any, value: Any) -> bool:
        return isinstance(self.value, Mapping) and all(
            _Fits(k).visit(key) and _Fits(v).visit(value) for k, v in self.value.items()
        )

    def other(self, hint: Any, *parts: Any) -> bool:
        return isinstance(hint, type) and isinstance(self.value, hint)


def words(hint: Any, bounds: Range | None = None) -> str:
    """Return the description of a type for readers of a preset: ``a whole number >= 1 or null``."""
    return _Words(bounds).visit(hint)


class _Words(TypeVisitor[str]):
    def __init__(self, bounds: Range | None = None) -> None:
        self.bounds = bounds

    def annotated(self, hint: Any, base: Any, *extras: Any) -> str:
        return words(base, range_of(extras) or self.bounds)

    def anything(self, hint: Any) -> str:
        return "anything"

    def scalar(self, hint: Any) -> str:
        if hint in (int, float):
            return f"a {'whole ' if hint is int else ''}number{f' {self.bounds}' if self.bounds else ''}"
        return {bool: "true or false", str: "a string"}.get(hint, "null")

    def literal(self, hint: Any, *choices: Any) -> str:
        return "one of " + ", ".join(map(repr, choices))

    def union(self, hint: Any, *members: Any) -> str:
        names = [self.visit(member) for member in members if is_writable(member)]
        return " or ".join(dict.fromkeys(names)) or "a value that YAML cannot write"

    def fixed_tuple(self, hint: Any, *items: Any) -> str:
        return f"a list of {len(items)} values ({', '.join(map(words, items))})"

    def sequence(self, hint: Any, item: Any) -> str:
        return "a list" if item is Any else f"a list, each item {words(item)}"

    def mapping(self, hint: Any, key: Any, value: Any) -> str:
        keys = f" with keys among {', '.join(map(repr, get_args(key)))}" if get_origin(key) is Literal else ""
        return f"a mapping{keys}" + ("" if value is Any else f", each value {words(value)}")

    def section(self, hint: Any) -> str:
        return "a mapping"

    def other(self, hint: Any, *parts: Any) -> str:
        return str(getattr(hint, "__name__", hint))
