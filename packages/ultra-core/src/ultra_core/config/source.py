"""A preset as it was written: a tree in which every key and value has a position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ultra_core.config.scalars import Scalar
from ultra_core.errors import Fault, Path


@dataclass(eq=False, slots=True)
class Node:
    """One value of the file: a scalar, a dict of nodes or a list of nodes, and where it stands."""

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
    """A preset as it was written: its plain ``tree``, positions, and the ``faults`` of the writing itself."""

    def __init__(self, file: str, root: Node, faults: list[Fault]) -> None:
        self.file = file
        self.root = root
        self.faults = faults

    @property
    def tree(self) -> dict[str, Any]:
        """The content as plain dicts, lists and scalars; a fresh copy."""
        return self.root.plain()

    def get(self, path: Path, default: Any = None) -> Any:
        """Return the plain value at a path, or the default when nothing is written there."""
        node = self.node(path)
        return default if node is None else node.plain()

    def node(self, path: Path) -> Node | None:
        """Return what stands at a path, or None when nothing is written there."""
        node: Node | None = self.root
        for part in path:
            node = None if node is None else _child(node, part)
        return node

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of the value at a path, or of its key.

        A path that is not in the file has the position of the nearest key above it.
        """
        return self._mark(path, key)[1:]

    def fault(self, path: Path, message: str, *, key: bool = False) -> Fault:
        """Return a fault at a path, for rules that types cannot say; ``key`` blames the key."""
        return Fault(*self._mark(path, key), tuple(path), message)

    def _mark(self, path: Path, key: bool) -> tuple[str, int, int]:
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
