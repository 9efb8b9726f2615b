"""Replaces aliases of keys, and choices written in another case, before a section is structured.

The metadata of a field of a configuration class may have ``aliases``, a tuple of other names of its key, and
``any_case``, which accepts its choices (``Literal[...]``) in any case and behind the name of an enumeration:
``ROUND_ROBIN``, ``BatchSamplers.NO_DUPLICATES``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Union, get_origin

import attrs

from ultra_core.config.source import Node, Source
from ultra_core.errors import Fault, KeyPath, key_of
from ultra_core.plugins.types import TypeVisitor

_ENUMERATION = re.compile(r"^[A-Z][A-Za-z0-9]*\.")
"""The name of an enumeration before one of its choices."""

Rewritten = tuple[KeyPath, str]
"""The path of a key or choice that was replaced, and the name that replaced it."""


def canonical_names(source: Source, cls: type) -> tuple[Source, list[Rewritten]]:
    """Return the file with the keys and choices of a class, and what was replaced.

    A key that appears under two names is a fault of the result, unless one of them is an override, which
    replaces the other. Positions are those of the file; the given source is not changed.
    """
    names = _Names(source)
    root = _CanonicalNames(names, source.root).visit(cls)
    return Source(source.file, root, [*source.faults, *names.faults]), names.rewritten


def is_override(key_lines: Mapping[str, tuple[str, int, int]], key: str) -> bool:
    """Whether a key of a section comes from ``--set``, given where its keys come from."""
    return key in key_lines and key_lines[key][0].startswith("--set ")


@attrs.define
class _Names:
    """The replacements and faults of one file."""

    source: Source
    faults: list[Fault] = attrs.Factory(list)
    rewritten: list[Rewritten] = attrs.Factory(list)


@attrs.define
class _CanonicalNames(TypeVisitor[Node]):
    """Copies a node with the names that its type uses; the nodes of the file are not changed."""

    names: _Names
    node: Node
    path: KeyPath = ()
    any_case: bool = False

    def _inside(self, node: Node, step: str | int) -> _CanonicalNames:
        return attrs.evolve(self, node=node, path=(*self.path, step))

    def section(self, hint: Any) -> Node:
        if not isinstance(self.node.value, dict):
            return self.node
        cls = get_origin(hint) or hint
        attrs.resolve_types(cls)
        children: dict[str, Node] = dict(self.node.value)
        lines = dict(self.node.key_lines)
        for field in attrs.fields(cls):
            for alias in field.metadata.get("aliases", ()):
                if alias in children:
                    children = self._renamed(children, lines, alias, field.name)
            if field.name in children:
                inner = self._inside(children[field.name], field.name)
                inner.any_case = bool(field.metadata.get("any_case"))
                children[field.name] = inner.visit(field.type)
        return replace(self.node, value=children, key_lines=lines)

    def _renamed(
        self, children: dict[str, Node], lines: dict[str, Any], alias: str, name: str
    ) -> dict[str, Node]:
        over = [key for key in (alias, name) if is_override(lines, key)] if name in children else []
        if len(over) == 1:  # it replaces what the file says under the other name
            children = {k: child for k, child in children.items() if k in over or k not in (alias, name)}
            if over == [name]:
                return children
        elif name in children:
            message = f"says the same as {key_of((*self.path, name))}; keep one of them"
            self.names.faults.append(self.names.source.fault((*self.path, alias), message, key=True))
            return {key: child for key, child in children.items() if key != alias}
        self.names.rewritten.append(((*self.path, alias), name))
        if alias in lines:
            lines[name] = lines.pop(alias)
        return {name if key == alias else key: child for key, child in children.items()}

    def union(self, hint: Any, *members: Any) -> Node:
        for member in members:
            self.node = self.visit(member)
        return self.node

    def fixed_tuple(self, hint: Any, *items: Any) -> Node:
        return self.sequence(hint, Union[items])  # noqa: UP007 - the members are a tuple

    def sequence(self, hint: Any, item: Any) -> Node:
        if not isinstance(self.node.value, list):
            return self.node
        items = [self._inside(child, index).visit(item) for index, child in enumerate(self.node.value)]
        return replace(self.node, value=items)

    def mapping(self, hint: Any, key: Any, value: Any) -> Node:
        if not isinstance(self.node.value, dict):
            return self.node
        items = {key: self._inside(child, key).visit(value) for key, child in self.node.value.items()}
        return replace(self.node, value=items)

    def literal(self, hint: Any, *choices: Any) -> Node:
        value = self.node.value
        if not self.any_case or not isinstance(value, str) or (choice := _choice(value, choices)) == value:
            return self.node
        self.names.rewritten.append((self.path, choice))
        return replace(self.node, value=choice)

    def other(self, hint: Any, *parts: Any) -> Node:
        return self.node


def _choice(value: str, choices: tuple[Any, ...]) -> str:
    """Return the choice that a string stands for, or the string."""
    if value in choices:
        return value
    word = _ENUMERATION.sub("", value).lower().replace("-", "_")
    meant = [c for c in choices if isinstance(c, str) and c.lower().replace("-", "_") == word]
    return meant[0] if len(meant) == 1 else value
