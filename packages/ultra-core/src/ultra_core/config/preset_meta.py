"""Reads the section ``meta`` of a preset, and nothing else, for lists of presets."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ultra_core.config.yaml_parser import parse
from ultra_core.errors import ConfigError

_SECTION = re.compile(r"^meta:.*\n(?:(?:[ \t#].*)?\n)*", re.MULTILINE)


def read_meta(file: Path) -> dict[str, Any]:
    """Return the section ``meta`` of a preset; empty when it is missing or faulty."""
    try:
        return parse_meta(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


@lru_cache(maxsize=256)
def parse_meta(text: str) -> dict[str, Any]:
    """Return the section ``meta`` of a preset, given as text; empty when it is missing or faulty."""
    found = _SECTION.search(text + "\n")
    try:
        root = parse(found[0])[0] if found else None
    except ConfigError:
        return {}
    meta = root.plain().get("meta") if root else None
    return meta if isinstance(meta, dict) else {}
