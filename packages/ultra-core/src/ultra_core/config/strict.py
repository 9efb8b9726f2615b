"""The strict cattrs converter: nothing is coerced, and every problem keeps the path that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from ultra_core.errors import Path, did_you_mean, listed
from ultra_core.plugins.types import (
    LISTS,
    MAPPINGS,
    SCALARS,
    UNIONS,
    is_writable,
    mismatch,
    range_of,
    words,
)


@attrs.frozen
class Problem:
    """A message and the keys below the structured value that lead to it."""

    path: Path
    message: str
    blames_key: bool = False


MANY = 200
"""Faulty items of a list, or unknown keys of a section, beyond which no more is said of each.

The file is wrong as a whole then, and finding what is close to each of thousands of names would take minutes.
"""


class Mismatch(ValueError):
    """A value that does not fit its type."""


def found(value: Any) -> str:
    """Return a value as a message shows it: what it is and, when short, the value itself."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}" if value else f"an empty {kind[2:]}"
    text = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return f"the text {text}" if isinstance(value, str) else text


def make_converter() -> Converter:
    """Return a converter with a strict rule for every type that a configuration class may have."""
    made = Converter(detailed_validation=True, forbid_extra_keys=True)
    for scalar in SCALARS:
        made.register_structure_hook(scalar, _leaf)
    made.register_structure_hook_func(_is(Literal), _leaf)
    factories: list[tuple[Callable[[Any], bool], Any]] = [
        (attrs.has, _section),
        (_is(*LISTS, tuple), _list),
        (_is(*MAPPINGS), _mapping),
        (_is(*UNIONS), _union),
        (_is(Annotated), _annotated),
    ]
    for fits, factory in factories:
        made.register_structure_hook_factory(fits)(factory)
    return made


Hook = Callable[[Any, Any], Any]


def _origin(hint: Any) -> Any:
    return get_origin(hint) or hint


def _is(*origins: Any) -> Callable[[Any], bool]:
    return lambda hint: _origin(hint) in origins


def _leaf(value: Any, hint: Any) -> Any:
    if problem := mismatch(value, hint):
        close = ""
        if get_origin(hint) is Literal and isinstance(value, str):
            close = "." + did_you_mean(value, [c for c in get_args(hint) if isinstance(c, str)])
        raise Mismatch(f"{problem}, found {found(value)}{close.removesuffix('.')}")
    return float(value) if hint is float else value


def _annotated(hint: Any, made: Converter) -> Hook:
    base, *extras = get_args(hint)
    inner = made.get_structure_hook(base)
    bounds = range_of(tuple(extras))

    def structure(value: Any, _: Any) -> Any:
        if base in SCALARS and (problem := mismatch(value, base, bounds)):
            raise Mismatch(f"{problem}, found {found(value)}")
        result = inner(value, base)
        if bounds is not None and (problem := mismatch(result, base, bounds)):
            raise Mismatch(f"{problem}, found {found(value)}")
        return result

    return structure


def _section(cls: Any, made: Converter) -> Hook:
    inner = make_dict_structure_fn(
        cls, made, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    optional = all(field.default is not attrs.NOTHING for field in attrs.fields(cls) if field.init)

    def structure(value: Any, hint: Any) -> Any:
        value = {} if value is None and optional else value  # a section with nothing under it
        if not isinstance(value, Mapping):
            raise Mismatch(f"expected a mapping with the keys {_keys(cls)}; found {found(value)}")
        return inner(value, hint)

    return structure


def _keys(cls: Any) -> str:
    names = [field.name for field in attrs.fields(cls) if field.init]
    return listed(names if len(names) <= 8 else [*names[:8], "..."])


def _list(hint: Any, made: Converter) -> Hook:
    args = get_args(hint)
    origin: Callable[[list[Any]], Any] = tuple if _origin(hint) is tuple else list
    if not args:
        args = (Any,) if origin is list else (Any, ...)
    fixed = origin is tuple and not (len(args) == 2 and args[1] is Ellipsis)
    hooks = [made.get_structure_hook(arg) for arg in args if arg is not Ellipsis]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, (list, tuple)) or (fixed and len(value) != len(args)):
            raise Mismatch(f"expected {words(hint)}, found {found(value)}")
        times = 1 if fixed else len(value)
        pairs = zip(value, hooks * times, args[: len(hooks)] * times, strict=True)
        return origin(_each(hint, [(index, *pair) for index, pair in enumerate(pairs)]))

    return structure


def _mapping(hint: Any, made: Converter) -> Hook:
    item_type = get_args(hint)[1] if get_args(hint) else Any
    item = made.get_structure_hook(item_type)

    def structure(value: Any, _: Any) -> Any:
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise Mismatch(f"expected {words(hint)}, found {found(value)}")
        items = _each(hint, [(key, part, item, item_type) for key, part in value.items()])
        return dict(zip(value, items, strict=True))

    return structure


def _each(hint: Any, items: list[tuple[Any, Any, Hook, Any]]) -> list[Any]:
    """Structure every item; all their problems come together, each with the index or key of its item."""
    results: list[Any] = []
    errors: list[Exception] = []
    for index, value, hook, item_type in items:
        if len(errors) == MANY:
            errors.append(Mismatch(f"{MANY} of its {len(items)} items are wrong; the rest was not looked at"))
            break
        try:
            results.append(hook(value, item_type))
        except Exception as error:
            note = IterableValidationNote(f"item {index}", index, item_type)
            error.__notes__ = [*getattr(error, "__notes__", []), note]
            errors.append(error)
    if errors:
        raise IterableValidationError("items", errors, hint)
    return results


def _union(hint: Any, made: Converter) -> Hook:
    parts = [part for part in get_args(hint) if is_writable(part)]
    hooks = [(part, made.get_structure_hook(part)) for part in parts]

    def structure(value: Any, _: Any) -> Any:
        errors = {}
        if value is None:
            if any(mismatch(None, part) is None for part in parts):
                return None
            raise Mismatch(f"expected {words(hint)}, found {found(value)}")
        for part, hook in hooks:
            try:
                return hook(value, part)
            except Exception as error:
                errors[part] = error
        shaped = [part for part in parts if _shape_fits(value, part)]
        if len(shaped) == 1:  # the only member that this kind of value can mean: its own problems say most
            raise errors[shaped[0]]
        raise Mismatch(f"expected {words(hint)}, found {found(value)}")

    return structure


def _shape_fits(value: Any, part: Any) -> bool:
    if get_origin(part) is Annotated:
        return _shape_fits(value, get_args(part)[0])
    if isinstance(value, Mapping):
        return attrs.has(part) or _origin(part) in MAPPINGS
    if isinstance(value, list):
        return _origin(part) in (*LISTS, tuple)
    if get_origin(part) is Literal:
        return any(type(value) is type(choice) for choice in get_args(part))
    return part in SCALARS and mismatch(value, part) is None


def problems(error: BaseException, path: Path = ()) -> Iterator[Problem]:
    """Yield what an error of the converter says, one problem a value.

    Raises:
        BaseException: the error itself, when no value can be blamed for it.
    """
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from problems(inner, (*path, *_step(inner)))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl) if field.init]
        few = len(error.extra_fields) <= MANY
        for key in sorted(error.extra_fields):
            close = did_you_mean(key, known) if few else ""
            yield Problem(
                (*path, key), f"unknown key.{close or f' The keys here: {_keys(error.cl)}'}", blames_key=True
            )
    elif isinstance(error, KeyError) and path and error.args == (path[-1],):
        yield Problem(path, "this key is required and is missing")
    elif isinstance(error, (ValueError, TypeError, ArithmeticError)):
        yield Problem(path, str(error))
    else:
        raise error


def _step(error: BaseException) -> Path:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()
