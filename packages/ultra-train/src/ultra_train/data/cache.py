"""What the caches of data share: how they report, and how they make way for a new file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Notify = Callable[[str], None]
"""A function that is called with a line of text for the user."""


def set_aside(path: Path) -> Path:
    """Rename a file or folder that is in the way to ``<name>.aside-<n>``, and return the new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.aside-{number}")):
        number += 1
    path.rename(aside)
    return aside
