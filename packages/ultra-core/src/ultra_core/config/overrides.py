"""``--set a.b=c``: a value written over a preset, parsed and checked like the file."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from ultra_core.config.source import Node
from ultra_core.config.yaml_parser import MAX_DEPTH, parse
from ultra_core.errors import ConfigError, Fault, Path, key_of


def apply(root: Node, override: str) -> list[Fault]:
    """Write one ``KEY=VALUE`` into the tree; an empty list when nothing was wrong.

    ``KEY`` is a dotted path; a number picks an item of a list that is there. Sections that are missing are
    made. ``VALUE`` is YAML; nothing after ``=`` is null.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    origin = f"--set {key or override}"
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        return [
            Fault(origin, 1, 1, (), f"expected KEY=VALUE such as training.batch_size=8, found {override!r}")
        ]
    try:
        value, faults = parse(text, origin)
    except ConfigError as error:
        return [Fault(origin, f.line, f.column, tuple(parts), f.message) for f in error.faults]
    placed = _place(root, parts, value or Node(None, origin, 1, 1), origin)
    return [Fault(f.file, f.line, f.column, (*parts, *f.path), f.message) for f in faults] + placed


def _place(root: Node, parts: list[str], value: Node, origin: str) -> list[Fault]:
    node = root
    path: Path = ()
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if node.value is None:
            node.value = {}
        if isinstance(node.value, dict):
            if last or part not in node.value:
                node.value[part] = value if last else Node({}, origin, 1, 1)
                node.key_lines[part] = (origin, 1, 1)
            child = _own(node.value[part])
            node.value[part] = child
            node = child
            path = (*path, part)
        elif isinstance(node.value, list):
            if part not in map(str, range(len(node.value))):
                message = f"is a list of {len(node.value)}; {part!r} is not one of its positions 0, 1, ..."
                return [Fault(origin, 1, 1, path, message)]
            index = int(part)
            child = value if last else _own(node.value[index])
            node.value[index] = child
            node = child
            path = (*path, index)
        else:
            message = (
                f"is {node.value!r}, not a section, so {key_of(tuple(parts[depth:]))!r} cannot be set in it"
            )
            return [Fault(origin, 1, 1, path, message)]
    return []


def _own(node: Node) -> Node:
    """Return a copy to write into: an alias shares its node with its anchor."""
    return replace(node, value=copy(node.value), key_lines=dict(node.key_lines))
