"""The second stage of loading: typed sections, and every value that has the wrong type."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from ultra_core.config import Fault, KeyPath, Source, collect, from_tree

T = TypeVar("T")

ROUNDS = 20
"""Most attempts to set faulty values aside; each finds what the one before it hid."""


@attrs.frozen
class Structured(Generic[T]):
    """The sections of a file.

    Attributes:
        sections: without the faulty values; None when nothing readable is left.
        faults: the values of wrong types and the unknown keys.
    """

    sections: T | None
    faults: tuple[Fault, ...]


def structure(source: Source, cls: type[T], suggest: Callable[[Source, KeyPath], str]) -> Structured[T]:
    """Read a whole file as a class; the rest can be checked when values are faulty.

    Args:
        source: the file.
        cls: the class of the file.
        suggest: returns the message about an unknown key, or an empty text for the default message.
    """
    sections, faults = collect(source, cls, suggest=partial(suggest, source))
    if sections is None:
        sections = _without_faulty_values(source.tree, cls, faults)
    return Structured(sections, tuple(faults))


def _without_faulty_values(tree: dict[str, Any], cls: type[T], faults: list[Fault]) -> T | None:
    for _ in range(ROUNDS):
        for fault in faults:
            _remove(tree, fault.path)
        value, faults = collect(from_tree(tree), cls)
        if value is not None:
            return value
    return None


def _remove(tree: dict[str, Any], path: KeyPath) -> None:
    """Remove the key at a path; for a missing key or an item of a list, remove the section around it."""
    while path:
        parent: Any = tree
        for part in path[:-1]:
            inside = isinstance(parent, dict) and part in parent
            inside = inside or (isinstance(parent, list) and isinstance(part, int) and part < len(parent))
            if not inside:
                return  # removed already, with something around it
            parent = parent[part]
        if isinstance(parent, dict) and path[-1] in parent:
            del parent[path[-1]]
            return
        path = path[:-1]
