"""The first stage of loading: from the name of a preset to the file as it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any

from ultra_core import presets
from ultra_core.config import KeyPath, Source, load_source


def open_preset(name_or_path: str | FilePath, overrides: Iterable[str] = ()) -> Source:
    """Read an installed preset or a file; anything with a dot or a slash in it is a file."""
    name = str(name_or_path)
    separators = tuple(filter(None, (os.sep, os.altsep, ".")))
    if isinstance(name_or_path, FilePath) or any(s in name for s in separators) or FilePath(name).is_file():
        return load_source(name, overrides)
    return load_source(presets.get(name), overrides)


def name_of(name_or_path: str | FilePath) -> str:
    """Return the name of a preset: that of its file without the ending."""
    return FilePath(str(name_or_path)).stem.rpartition(":")[2]


def given_keys(tree: Any, path: KeyPath = ()) -> frozenset[KeyPath]:
    """Return the paths of all keys of a plain tree whose value is not null."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    found: set[KeyPath] = set()
    for key, value in items:
        if value is not None:
            found |= {(*path, key)} | given_keys(value, (*path, key))
    return frozenset(found)
