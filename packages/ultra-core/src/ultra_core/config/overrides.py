"""Overrides, ``--set a.b=c``: values that replace those of a preset and are checked like the file."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from ultra_core.config.source import Node
from ultra_core.config.yaml_parser import MAX_DEPTH, parse
from ultra_core.errors import ConfigError, Fault, KeyPath, key_of


def apply(root: Node, override: str) -> list[Fault]:
    """Apply one ``KEY=VALUE`` to the tree and return the faults; an empty list when existing are none.

    ``KEY`` is a dotted path; a number selects an item of a list. Missing sections are created. ``VALUE`` is
    YAML; an empty one is null.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    origin = f"--set {key or override}"
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        message = f"expected KEY=VALUE such as training.batch_size=8, found {override!r}"
        return [Fault(origin, 1, 1, (), message)]
    try:
        value, faults = parse(text, origin)
    except ConfigError as error:
        return [Fault(origin, f.line, f.column, tuple(parts), f.message) for f in error.faults]
    placed = _place(root, parts, value or Node(None, origin, 1, 1), origin)
    return [Fault(f.file, f.line, f.column, (*parts, *f.path), f.message) for f in faults] + placed


def _place(root: Node, parts: list[str], value: Node, origin: str) -> list[Fault]:
    node = root
    path: KeyPath = ()
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if node.value is None:
            node.value = {}
        content: Any = node.value
        step: str | int = part
        if isinstance(content, dict):
            existing = content.get(part)
            if existing is None or last:
                node.key_lines[part] = (origin, 1, 1)
        elif isinstance(content, list) and part in map(str, range(len(content))):
            step = int(part)
            existing = content[step]
        else:
            rest = key_of(tuple(parts[depth:]))
            message = f"is {content!r}, not a section, so {rest!r} cannot be set in it"
            if isinstance(content, list):
                message = f"is a list of {len(content)}; {part!r} is not one of its positions 0, 1, ..."
            return [Fault(origin, 1, 1, path, message)]
        node = content[step] = value if last else _own(existing or Node({}, origin, 1, 1))
        path = (*path, step)
    return []


def _own(node: Node) -> Node:
    """Return a copy that can be modified: an alias shares its node with its anchor."""
    return replace(node, value=copy(node.value), key_lines=dict(node.key_lines))
