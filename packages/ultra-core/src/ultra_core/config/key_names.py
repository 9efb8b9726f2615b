"""Other names of keys, and choices in any case: rewritten before a section is read.

A field of a configuration class may say in its metadata ``aliases``, a tuple of other names of its key, and
``any_case``, that its choices (``Literal[...]``) may be written in any case and with the name of an
enumeration before them: ``ROUND_ROBIN``, ``BatchSamplers.NO_DUPLICATES``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from ultra_core.config.source import Node, Source
from ultra_core.errors import Fault, Path, key_of
from ultra_core.plugins.types import LISTS, MAPPINGS, UNIONS

_ENUMERATION = re.compile(r"^[A-Z][A-Za-z0-9]*\.")
"""The name of an enumeration before one of its choices."""

Rewritten = tuple[Path, str]
"""Where something stood that has another name, and that name."""


def own_names(source: Source, cls: type) -> tuple[Source, list[Rewritten]]:
    """Return the file with keys and choices as a class calls them, and what was rewritten.

    A key that is there by two names is a fault of the result, unless one of them is an override: it takes the
    place of the other. Positions are those of the file, which stays as
    it is.
    """
    walk = _Walk(source)
    root = walk.section(source.root, cls, ())
    return Source(source.file, root, [*source.faults, *walk.faults]), walk.rewritten


def is_override(key_lines: Mapping[str, tuple[str, int, int]], key: str) -> bool:
    """Whether a key of a section comes from ``--set``, given where its keys come from."""
    return key in key_lines and key_lines[key][0].startswith("--set ")


class _Walk:
    """Copies what is rewritten and the sections around it; all other nodes are those of the file."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.rewritten: list[Rewritten] = []

    def section(self, node: Node, cls: type, path: Path) -> Node:
        if not isinstance(node.value, dict):
            return node
        made: dict[str, Node] = dict(node.value)
        lines = dict(node.key_lines)
        for field in _fields(cls):
            for alias in field.metadata.get("aliases", ()):
                if alias in made:
                    made = self._renamed(made, lines, alias, field.name, path)
            child = made.get(field.name)
            any_case = bool(field.metadata.get("any_case"))
            if child is not None and _concerns(field.type, any_case):
                made[field.name] = self._value(child, field.type, (*path, field.name), any_case)
        return replace(node, value=made, key_lines=lines)

    def _renamed(
        self, made: dict[str, Node], lines: dict[str, Any], alias: str, name: str, path: Path
    ) -> dict[str, Node]:
        over = [key for key in (alias, name) if is_override(lines, key)] if name in made else []
        if len(over) == 1:  # it displaces what the file says by the other name
            made = {key: child for key, child in made.items() if key in over or key not in (alias, name)}
            if over == [name]:
                return made
        elif name in made:
            own = key_of((*path, name))
            self.faults.append(
                self.source.fault((*path, alias), f"says the same as {own}; keep one of them", key=True)
            )
            return {key: child for key, child in made.items() if key != alias}
        self.rewritten.append(((*path, alias), name))
        if alias in lines:
            lines[name] = lines.pop(alias)
        return {name if key == alias else key: child for key, child in made.items()}

    def _value(self, node: Node, hint: Any, path: Path, any_case: bool) -> Node:
        origin, args = get_origin(hint) or hint, get_args(hint)
        if attrs.has(origin):
            return self.section(node, origin, path)
        if origin is Annotated:
            return self._value(node, args[0], path, any_case)
        if origin in UNIONS:
            for part in args:
                node = self._value(node, part, path, any_case)
        elif origin in (*LISTS, tuple) and isinstance(node.value, list) and args:
            items = [self._value(c, args[0], (*path, i), any_case) for i, c in enumerate(node.value)]
            return replace(node, value=items)
        elif origin in MAPPINGS and isinstance(node.value, dict) and args:
            inner = {key: self._value(c, args[1], (*path, key), any_case) for key, c in node.value.items()}
            return replace(node, value=inner)
        elif any_case and origin is Literal and isinstance(node.value, str):
            choice = _choice(node.value, args)
            if choice != node.value:
                self.rewritten.append((path, choice))
                return replace(node, value=choice)
        return node


@lru_cache(maxsize=512)
def _concerns(hint: Any, any_case: bool) -> bool:
    """Whether a value of a type may hold a key or a choice with another name."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if attrs.has(origin):
        return any(
            field.metadata.get("aliases") or _concerns(field.type, bool(field.metadata.get("any_case")))
            for field in _fields(origin)
        )
    if origin is Literal:
        return any_case
    return any(_concerns(part, any_case) for part in args if part is not Ellipsis)


def _fields(cls: type) -> tuple[Any, ...]:
    attrs.resolve_types(cls)
    return tuple(attrs.fields(cls))


def _choice(value: str, choices: tuple[Any, ...]) -> str:
    """Return the choice that a text means, or the text."""
    if value in choices:
        return value
    word = _ENUMERATION.sub("", value).lower().replace("-", "_")
    meant = [c for c in choices if isinstance(c, str) and c.lower().replace("-", "_") == word]
    return meant[0] if len(meant) == 1 else value
