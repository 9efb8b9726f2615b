"""The notices of a loaded preset."""

from typing import Any


def notice(preset: Any, start: str) -> str:
    """Return the only notice of a preset that begins with ``start``."""
    (line,) = [line for line in preset.notices if line.startswith(start)]
    return line
