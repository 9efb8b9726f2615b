"""The strict cattrs converter: nothing is coerced, and every problem keeps the path that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn

from ultra_core.errors import KeyPath, did_you_mean, listed
from ultra_core.plugins.types import SCALARS, TypeVisitor, is_outside, is_writable, mismatch, range_of, words

Hook = Callable[[Any, Any], Any]

MANY = 200
"""Number of invalid items or unknown keys beyond which messages no longer go into details.

Such a file is wrong as a whole, and a search for similar names among thousands would take minutes.
"""


@attrs.frozen
class Problem:
    """A message and the path, relative to the structured value, to what it is about."""

    path: KeyPath
    message: str
    blames_key: bool = False


class Mismatch(ValueError):
    """A value that does not fit its type; the message is composed only when it is read."""

    def __init__(self, expected: str, value: Any, choices: tuple[Any, ...] = ()) -> None:
        super().__init__(expected, value, choices)

    def __str__(self) -> str:
        expected, value, choices = self.args
        texts = [choice for choice in choices if isinstance(choice, str)]
        close = did_you_mean(value, texts) if isinstance(value, str) else ""
        comma = "" if expected.endswith(";") else ","
        return f"{expected}{comma} found {found(value)}{f'.{close}' if close else ''}"


class WrongKind(Mismatch):
    """A value of a different kind than its type requires, such as a string instead of a list."""


def found(value: Any) -> str:
    """Return the description of a value for a message: its kind and, when it is short, the value itself."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}" if value else f"an empty {kind[2:]}"
    text = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return f"the string {text}" if isinstance(value, str) else text


def make_converter() -> Converter:
    """Return a converter with a strict hook for every type that a field of a configuration class may have."""
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    strict = _StrictHooks(converter)
    for scalar in SCALARS:  # cattrs looks up hooks by class before it asks factories
        converter.register_structure_hook(scalar, strict.scalar(scalar))
    converter.register_structure_hook_factory(lambda _: True)(strict.visit)
    return converter


class _StrictHooks(TypeVisitor[Hook]):
    """Builds the hook for a type: it checks the kind of a value and lets cattrs structure the contents."""

    def __init__(self, converter: Converter) -> None:
        self.converter = converter

    def annotated(self, hint: Any, base: Any, *extras: Any) -> Hook:
        inner, bounds = self.converter.get_structure_hook(base), range_of(extras)

        def structure(value: Any, _: Any) -> Any:
            if base in SCALARS and mismatch(value, base):
                raise WrongKind(f"expected {words(hint)}", value)
            result = inner(value, base)
            if bounds and is_outside(result, bounds):
                raise Mismatch(f"expected a number {bounds}", value)
            return result

        return structure

    def anything(self, hint: Any) -> Hook:
        return lambda value, _: value

    def scalar(self, hint: Any, *choices: Any) -> Hook:
        return _leaf

    literal = scalar

    def union(self, hint: Any, *members: Any) -> Hook:
        hooks = [(m, self.converter.get_structure_hook(m)) for m in members if is_writable(m)]

        def structure(value: Any, _: Any) -> Any:
            if value is None:
                if mismatch(None, hint) is None:
                    return None
                raise WrongKind(f"expected {words(hint)}", None)
            inside = []
            for member, hook in hooks:
                try:
                    return hook(value, member)
                except WrongKind:
                    pass
                except Exception as error:
                    inside.append(error)
            if len(inside) == 1:  # only this member accepts the kind of the value: its problems are specific
                raise inside[0]
            raise WrongKind(f"expected {words(hint)}", value)

        return structure

    def fixed_tuple(self, hint: Any, *items: Any) -> Hook:
        hooks = [(item, self.converter.get_structure_hook(item)) for item in items]

        def structure(value: Any, _: Any) -> Any:
            if len(value) != len(items):
                raise Mismatch(f"expected {words(hint)}", value)
            results, errors = [], []
            for index, (part, (item, hook)) in enumerate(zip(value, hooks, strict=True)):
                try:
                    results.append(hook(part, item))
                except Exception as error:
                    error.add_note(IterableValidationNote(f"item {index}", index, item))
                    errors.append(error)
            if errors:
                raise IterableValidationError("items", errors, hint)
            return tuple(results)

        return _checked((list, tuple), f"expected {words(hint)}", structure)

    def sequence(self, hint: Any, item: Any) -> Hook:
        structure = list_structure_factory(list[item], self.converter)
        kind: Any = tuple if (get_origin(hint) or hint) is tuple else list
        return _checked((list, tuple), f"expected {words(hint)}", lambda value, _: kind(structure(value, _)))

    def mapping(self, hint: Any, key: Any, value: Any) -> Hook:
        structure = mapping_structure_factory(dict[Any, value], self.converter)
        return _checked(Mapping | None, f"expected {words(hint)}", lambda value, _: structure(value or {}, _))

    def section(self, hint: Any) -> Hook:
        structure = make_dict_structure_fn(hint, self.converter)
        optional = all(field.default is not attrs.NOTHING for field in attrs.fields(hint) if field.init)
        expected = f"expected a mapping with the keys {_keys(hint)};"
        kinds = Mapping | None if optional else Mapping  # YAML reads a key without content as null
        return _checked(kinds, expected, lambda value, _: structure(value or {}, _))

    def other(self, hint: Any, *parts: Any) -> Hook:
        raise StructureHandlerNotFoundError(f"a configuration class cannot have a field of {hint}", hint)


def _leaf(value: Any, hint: Any) -> Any:
    if problem := mismatch(value, hint):
        choices = get_args(hint)
        is_kind = any(type(value) is type(choice) for choice in choices)
        raise (Mismatch if is_kind else WrongKind)(problem, value, choices)
    return float(value) if hint is float else value


def _checked(kinds: Any, expected: str, structure: Hook) -> Hook:
    """Return a hook that rejects values of other kinds before it structures."""

    def check(value: Any, hint: Any) -> Any:
        if not isinstance(value, kinds):
            raise WrongKind(expected, value)
        return structure(value, hint)

    return check


def _keys(cls: Any) -> str:
    names = [field.name for field in attrs.fields(cls) if field.init]
    return listed(names if len(names) <= 8 else [*names[:8], "..."])


def problems(error: BaseException, path: KeyPath = ()) -> Iterator[Problem]:
    """Yield one problem for each value that an error of the converter is about.

    Raises:
        BaseException: the error itself, when it is not about a value.
    """
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions[:MANY]:
            yield from problems(inner, (*path, *_step(inner)))
        if len(error.exceptions) > MANY:
            yield Problem(path, f"{len(error.exceptions):,} items are invalid; the first {MANY} are listed")
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl) if field.init]
        few = len(error.extra_fields) <= MANY
        for key in sorted(error.extra_fields):
            close = did_you_mean(key, known) if few else ""
            message = f"unknown key.{close or f' The keys here: {_keys(error.cl)}'}"
            yield Problem((*path, key), message, blames_key=True)
    elif isinstance(error, KeyError) and path and error.args == (path[-1],):
        yield Problem(path, "this key is required and is missing")
    elif isinstance(error, (ValueError, TypeError, ArithmeticError)):
        yield Problem(path, str(error))
    else:
        raise error


def _step(error: BaseException) -> KeyPath:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()
