"""Packages in the current folder that offer a plugin, and may not be installed yet."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def offering(name: str) -> str:
    """Return the folder of a package here whose ``pyproject.toml`` offers a name; empty if none does."""
    here = Path()
    for project in (here / "pyproject.toml", *sorted(here.glob("*/pyproject.toml"))):
        if name in _names(project):
            folder = project.parent.as_posix()
            return folder if folder == "." else f"./{folder}"
    return ""


def _names(project: Path) -> set[str]:
    """Return the names in the entry points of ultra; none where the file cannot be read."""
    try:
        content: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
        groups = content["project"]["entry-points"]
        return {name for group, names in groups.items() if group.startswith("ultra.") for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
