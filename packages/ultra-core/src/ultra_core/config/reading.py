"""Reads a preset file, a text or a mapping into a ``Source``, which has the position of every value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ultra_core.config.overrides import apply
from ultra_core.config.source import Node, Source
from ultra_core.config.strict import found
from ultra_core.config.yaml_parser import parse, read_bytes
from ultra_core.errors import ConfigError, Fault


def load_source(file: str | Path, overrides: Iterable[str] = ()) -> Source:
    """Read a preset file and apply ``KEY=VALUE`` overrides to it.

    Raises:
        ConfigError: the file cannot be read, or is not one YAML mapping.
    """
    return parse_source(read_bytes(file), overrides, file=str(file))


def parse_source(text: str | bytes, overrides: Iterable[str] = (), *, file: str = "<text>") -> Source:
    """Read a preset from text; ``file`` is its name in messages.

    Faults that leave the rest readable (duplicate keys, tags, overrides that do not fit) are stored in
    ``Source.faults`` and reported with those of ``structure``.

    Raises:
        ConfigError: it is not one YAML mapping.
    """
    root, faults = parse(text, file)
    if root is None or root.value is None:
        raise ConfigError([*faults, Fault(file, 1, 1, (), "is empty; expected a mapping of keys to values")])
    if not isinstance(root.value, dict):
        message = f"expected a mapping of keys to values, found {found(root.plain())}"
        raise ConfigError([*faults, Fault(file, root.line, root.column, (), message)])
    for override in overrides:
        faults += apply(root, override)
    return Source(file, root, faults)


def from_tree(tree: Mapping[str, Any], *, file: str = "<mapping>") -> Source:
    """Return a source for a plain mapping from Python; every position is line 1, column 1."""

    def node(value: Any) -> Node:
        if isinstance(value, Mapping):
            return Node({str(k): node(v) for k, v in value.items()}, file, 1, 1)
        if isinstance(value, (list, tuple)):
            return Node([node(v) for v in value], file, 1, 1)
        return Node(value, file, 1, 1)

    return Source(file, node(tree), [])
