"""The types whose values YAML can write: whether a value fits one, and how a reader would call it."""

from __future__ import annotations

import collections.abc
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ultra_core.contracts import Range

SCALARS: tuple[Any, ...] = (bool, int, float, str, type(None))
LISTS: tuple[Any, ...] = (list, collections.abc.Sequence)
MAPPINGS: tuple[Any, ...] = (dict, collections.abc.Mapping)
UNIONS: tuple[Any, ...] = (Union, types.UnionType)


def split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Annotated[X, ...]`` into ``X`` and what it is annotated with."""
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        return base, tuple(extras)
    return hint, ()


def range_of(extras: tuple[Any, ...]) -> Range | None:
    """Return the range among annotations."""
    return next((extra for extra in extras if isinstance(extra, Range)), None)


def is_plain(hint: Any) -> bool:
    """Whether YAML can write a value of this type: numbers, texts, choices, lists and mappings of them."""
    hint, _ = split(hint)
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in UNIONS:
        return any(is_plain(part) for part in args if part is not type(None))
    if origin in (*LISTS, *MAPPINGS, tuple):
        return all(part is Ellipsis or part is Any or is_plain(part) for part in args)
    return hint in SCALARS or origin is Literal


def is_section(hint: Any) -> bool:
    """Whether a type is an attrs class, which YAML writes as a mapping of its fields."""
    return hasattr(get_origin(hint) or hint, "__attrs_attrs__")


def is_writable(hint: Any) -> bool:
    """Whether a configuration class may have this type: what is plain, sections, `Any`, and lists of these.

    Members of a union that are not writable, such as callables, are there for Python alone.
    """
    hint, _ = split(hint)
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (*UNIONS, *LISTS, *MAPPINGS, tuple):
        return all(part is Ellipsis or is_writable(part) for part in args)
    return hint is Any or is_section(hint) or is_plain(hint)


def mismatch(value: Any, hint: Any, bounds: Range | None = None) -> str | None:
    """Say what was expected when a plain value does not fit a type, else None; nothing is coerced.

    The one widening: an int fits a float.
    """
    hint, extras = split(hint)
    bounds = range_of(extras) or bounds
    if not _fits(value, hint):
        return f"expected {words(hint, bounds)}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"expected a number {bounds}" if bounds and is_number and value not in bounds else None


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in args)
    if origin in UNIONS:
        return any(mismatch(value, part) is None for part in args)
    if origin in (*LISTS, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and args and args[-1] is not Ellipsis:
            return len(value) == len(args) and all(map(_item_fits, value, args))
        return all(_item_fits(item, args[0]) for item in value) if args else True
    if origin in MAPPINGS:
        key, item = args or (Any, Any)
        return isinstance(value, Mapping) and all(
            _item_fits(k, key) and _item_fits(v, item) for k, v in value.items()
        )
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else False


def _item_fits(value: Any, hint: Any) -> bool:
    return mismatch(value, hint) is None


_WORDS: dict[Any, str] = {
    Any: "anything",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    None: "null",
    type(None): "null",
}


def words(hint: Any, bounds: Range | None = None) -> str:
    """Return a type as a reader of a preset would call it: ``a whole number >= 1 or null``."""
    hint, extras = split(hint)
    bounds = range_of(extras) or bounds
    origin, args = get_origin(hint) or hint, get_args(hint)
    if hint in (int, float) and bounds:
        return f"{_WORDS[hint]} {bounds}"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin in UNIONS:
        said = [words(part, bounds) for part in args if is_writable(part)]
        return " or ".join(dict.fromkeys(said)) or "what YAML cannot write"
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} values ({', '.join(map(words, args))})"
    if origin in (*LISTS, tuple):
        return f"a list, each item {words(args[0])}" if args and args[0] is not Any else "a list"
    if origin in MAPPINGS:
        choices = get_args(args[0]) if args and get_origin(args[0]) is Literal else ()
        keys = f" with keys among {', '.join(map(repr, choices))}" if choices else ""
        items = f", each value {words(args[1])}" if args and args[1] is not Any else ""
        return f"a mapping{keys}{items}"
    if is_section(hint):
        return "a mapping"
    return _WORDS[hint] if hint in _WORDS else str(getattr(hint, "__name__", hint))


def as_yaml(value: Any) -> str:
    """Return a plain default as YAML would write it on one line."""
    if isinstance(value, str):
        return value or "''"
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
