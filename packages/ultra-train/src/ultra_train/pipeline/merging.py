"""Presets as trees with positions: one laid over another, and a value put into one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ultra_core.config import KeyPath
from ultra_core.config.source import Node

WHOLE = "optimizer_class"
"""A section with this key replaces another one whole: the parameters of two optimizers do not mix."""


def merged(under: Node, over: Node) -> Node:
    """Return a tree whose mappings are united; where both have a value, that of ``over`` counts."""
    if not isinstance(under.value, dict) or not isinstance(over.value, dict) or WHOLE in over.value:
        return over
    children, lines = dict(under.value), dict(under.key_lines)
    for name, child in over.value.items():
        children[name] = merged(children[name], child) if name in children else child
        if name not in under.value or children[name] is child:
            lines[name] = over.key_lines.get(name, (child.file, child.line, child.column))
    return replace(under, value=children, key_lines=lines)


def without(node: Node, *names: str) -> Node:
    """Return a mapping without keys that it may have."""
    assert isinstance(node.value, dict)
    return replace(node, value={name: child for name, child in node.value.items() if name not in names})


def placed(root: Node, path: KeyPath, value: str | None, at: Node) -> Node:
    """Return a tree with a value at a path; what is not there yet is created.

    Args:
        root: the tree, which is not changed.
        path: the keys that lead to the value.
        value: the value.
        at: the node whose position it gets.
    """
    new = Node(value, at.file, at.line, at.column)
    for name in reversed(path):
        mark = (at.file, at.line, at.column)
        new = Node({str(name): new}, *mark, key_lines={str(name): mark})
    return merged(root, new)


def removed(tree: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """Return plain data without the value at a path."""
    first, *rest = path
    left = {name: value for name, value in tree.items() if name != first}
    if rest:
        left[str(first)] = removed(tree[str(first)], tuple(rest))
    return {name: left[name] for name in tree if name in left}
