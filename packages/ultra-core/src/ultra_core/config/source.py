"""A preset as written: a tree in which every key and value has a position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ultra_core.config.scalars import Scalar
from ultra_core.errors import Fault, KeyPath


@dataclass(eq=False, slots=True)
class Node:
    """One value of the file, which is a scalar, a dict of nodes or a list of nodes, and its position."""

    value: Scalar | dict[str, Node] | list[Node]
    file: str
    line: int
    column: int
    key_lines: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """For a mapping: file, line and column of each key."""
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


class Source:
    """A preset as written: its plain ``tree``, positions, and the ``faults`` that parsing found."""

    def __init__(self, file: str, root: Node, faults: list[Fault]) -> None:
        self.file = file
        self.root = root
        self.faults = faults

    @property
    def tree(self) -> dict[str, Any]:
        """The content as plain dicts, lists and scalars; a fresh copy."""
        return self.root.plain()

    def get(self, path: KeyPath, default: Any = None) -> Any:
        """Return the plain value at a path, or the default when the path is not in the file."""
        node = self.node(path)
        return default if node is None else node.plain()

    def node(self, path: KeyPath) -> Node | None:
        """Return the node at a path, or None when the path is not in the file."""
        node: Node | None = self.root
        for part in path:
            node = None if node is None else _child(node, part)
        return node

    def fault(self, path: KeyPath, message: str, *, key: bool = False) -> Fault:
        """Return a fault at a path, for rules beyond types.

        Args:
            path: the keys and indices; a missing one has the position of the nearest key above it.
            message: what is wrong.
            key: whether the fault is about the key instead of the value.
        """
        return Fault(*self._mark(path, key), tuple(path), message)

    def _mark(self, path: KeyPath, key: bool) -> tuple[str, int, int]:
        node, key_mark = self.root, (self.root.file, 1, 1)
        for part in path:
            child = _child(node, part)
            if child is None:
                return key_mark
            key_mark = node.key_lines.get(str(part), (child.file, child.line, child.column))
            node = child
        return key_mark if key or not path else (node.file, node.line, node.column)


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part]
    return None
