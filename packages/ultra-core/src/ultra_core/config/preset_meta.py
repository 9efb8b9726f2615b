"""The section ``meta`` of a preset, for lists of presets.

Importing the YAML library takes longer than everything else that a list does. So lines that mean the same to
any reader are read here; a section with any other line goes to the YAML parser.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ultra_core.config.scalars import resolve
from ultra_core.errors import ConfigError

_SECTION = re.compile(r"^meta:.*\n(?:(?:[ \t#].*)?\n)*", re.MULTILINE)
_WORDS = r"[A-Za-z][^:#\[\]{}'\"\t]*"
_ITEM = r"[A-Za-z][^\s#,\[\]{}'\"]*\w"
_TEXT = re.compile(rf"  (\w+): ({_WORDS})")
_LIST = re.compile(rf"  (\w+): \[({_ITEM}(?:, {_ITEM})*)\]")
_LIST_BELOW = re.compile(r"  (\w+):")
_ITEM_BELOW = re.compile(rf"    - ({_ITEM})")


def read_meta(file: Path) -> dict[str, Any]:
    """Return the section ``meta`` of a preset, reading no other; empty when it is absent or faulty."""
    try:
        return parse_meta(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


@lru_cache(maxsize=256)
def parse_meta(text: str) -> dict[str, Any]:
    """Return the section ``meta`` of the text of a preset."""
    found = _SECTION.search(text + "\n")
    if not found:
        return {}
    simple = parse_simple(found[0])
    return parse_yaml(found[0]) if simple is None else simple


def parse_simple(section: str) -> dict[str, Any] | None:
    """Return the section when every line of it is simple, else None."""
    first, *lines = (line for line in section.splitlines() if line.strip() and line.lstrip()[0] != "#")
    meta: dict[str, Any] = {}
    value: Any
    below: list[Any] | None = None
    for line in lines:
        if below is not None and (item := _ITEM_BELOW.fullmatch(line)):
            below.append(resolve(item[1]))
            continue
        if below == []:
            return None
        below = None
        if text := _TEXT.fullmatch(line):
            key, value = text[1], resolve(text[2].strip())
        elif items := _LIST.fullmatch(line):
            key, value = items[1], [resolve(item) for item in items[2].split(", ")]
        elif above := _LIST_BELOW.fullmatch(line):
            key, value = above[1], (below := [])
        else:
            return None
        if key in meta:
            return None
        meta[key] = value
    return None if first != "meta:" or below == [] or not meta else meta


def parse_yaml(section: str) -> dict[str, Any]:
    """Return the section as the YAML parser reads it; empty when it is faulty."""
    from ultra_core.config.yaml_parser import parse

    try:
        root, _ = parse(section)
    except ConfigError:
        return {}
    meta = root.plain().get("meta") if root else None
    return meta if isinstance(meta, dict) else {}
