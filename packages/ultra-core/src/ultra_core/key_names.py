"""Other names of keys, and choices in any case: rewritten before a section is read.

A field of a configuration class may say in its metadata ``aliases``, a tuple of other names of its key, and
``any_case``, that its choices (``Literal[...]``) may be written in any case and with the name of an
enumeration before them: ``ROUND_ROBIN``, ``BatchSamplers.NO_DUPLICATES``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from ultra_core.errors import Fault, Path, key_of
from ultra_core.plain_types import LISTS, MAPPINGS, UNIONS
from ultra_core.source import Node, Source

Rewritten = tuple[Path, str]
"""Where something stood that has another name, and that name."""


def own_names(source: Source, cls: type) -> tuple[Source, list[Rewritten]]:
    """Return the file with keys and choices as a class calls them, and what was rewritten.

    A key that is there by two names is a fault of the result. Positions are those of the file.
    """
    root = _copy(source.root)
    faults: list[Fault] = []
    found = list(_section(Source(source.file, root, []), root, cls, (), faults))
    return Source(source.file, root, [*source.faults, *faults]), found


def _copy(node: Node) -> Node:
    if isinstance(node.value, dict):
        inner: Any = {key: _copy(child) for key, child in node.value.items()}
    elif isinstance(node.value, list):
        inner = [_copy(child) for child in node.value]
    else:
        return replace(node)
    return replace(node, value=inner, key_lines=dict(node.key_lines))


def _section(source: Source, node: Node, cls: type, path: Path, faults: list[Fault]) -> Iterator[Rewritten]:
    if not isinstance(node.value, dict):
        return
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        for alias in field.metadata.get("aliases", ()):
            if alias not in node.value:
                continue
            if field.name in node.value:
                own = key_of((*path, field.name))
                faults.append(source.fault((*path, alias), f"says the same as {own}; keep one", key=True))
                del node.value[alias]
            else:
                _rename(node, alias, field.name)
                yield (*path, alias), field.name
        child = node.value.get(field.name)
        if child is not None and field.type is not None:
            any_case = bool(field.metadata.get("any_case"))
            yield from _value(source, child, field.type, (*path, field.name), faults, any_case)


def _rename(node: Node, old: str, new: str) -> None:
    """Rename a key of a mapping in its place."""
    assert isinstance(node.value, dict)
    node.value = {new if key == old else key: child for key, child in node.value.items()}
    if old in node.key_lines:
        node.key_lines[new] = node.key_lines.pop(old)


def _value(
    source: Source, node: Node, hint: Any, path: Path, faults: list[Fault], any_case: bool
) -> Iterator[Rewritten]:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if attrs.has(origin):
        yield from _section(source, node, origin, path, faults)
    elif origin is Annotated:
        yield from _value(source, node, args[0], path, faults, any_case)
    elif origin in UNIONS:
        for part in args:
            yield from _value(source, node, part, path, faults, any_case)
    elif origin in (*LISTS, tuple) and isinstance(node.value, list) and args:
        for index, child in enumerate(node.value):
            yield from _value(source, child, args[0], (*path, index), faults, any_case)
    elif origin in MAPPINGS and isinstance(node.value, dict) and args:
        for key, child in node.value.items():
            yield from _value(source, child, args[1], (*path, key), faults, any_case)
    elif any_case and origin is Literal and isinstance(node.value, str):
        choice = _choice(node.value, args)
        if choice != node.value:
            node.value = choice
            yield path, choice


def _choice(value: str, choices: tuple[Any, ...]) -> str:
    """Return the choice that a text means, or the text."""
    if value in choices:
        return value
    word = value.rpartition(".")[2].lower().replace("-", "_")
    meant = [c for c in choices if isinstance(c, str) and c.lower().replace("-", "_") == word]
    return meant[0] if len(meant) == 1 else value
