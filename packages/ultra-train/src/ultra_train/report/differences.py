"""The settings in which presets differ, as a table."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ultra_train.config import Preset, to_tree
from ultra_train.report.settings import MISSING, flatten
from ultra_train.report.tables import breakable, table

MOST_COLUMNS = 4
"""Presets that have a column each; of more, each has a list, which a narrow screen can show."""


def differences_table(names: Sequence[str], presets: Sequence[Preset | None]) -> str:
    """Return a table of the settings in which presets differ; an empty text where they are equal.

    Of many presets, each has a list of the settings in which it differs from most of them.

    Args:
        names: what the presets are called.
        presets: the presets; None for one that could not be read.
    """
    found = differing_settings(presets)
    if not found:
        return ""
    if len(names) <= MOST_COLUMNS:
        return table(["setting", *names], [[key, *values] for key, values in found.items()])
    common = {key: value for key, values in found.items() if (value := _of_most(values)) != MISSING}
    items = [_item("most of them", common)] if common else []
    for number, name in enumerate(names):
        own = {key: values[number] for key, values in found.items()}
        items.append(_item(name, {k: v for k, v in own.items() if v != common.get(k, MISSING)}))
    return f"<dl class=settings>{''.join(items)}</dl>"


def differing_settings(presets: Sequence[Preset | None]) -> dict[str, list[str]]:
    """Return the dotted keys whose values differ between presets, with the value in each of them.

    The parameters of optimizers have no prefix, so that the learning rates of two optimizers are one setting.
    A key is left out where presets have the same value or lack the whole section: that one of them has no
    ``model`` says all about the keys in it.
    """
    trees = [_tree(preset) if preset is not None else None for preset in presets]
    flat = [flatten(tree) if tree is not None else {} for tree in trees]
    found = {}
    for key in dict.fromkeys(key for one in flat for key in one):
        values = [one.get(key, MISSING) for one in flat]
        told = {
            value
            for tree, value in zip(trees, values, strict=True)
            if tree is not None and (value != MISSING or not _lacks_section(tree, key))
        }
        if len(told) > 1:
            found[key] = values
    return found


def _tree(preset: Preset) -> dict[str, Any]:
    tree = {name: value for name, value in to_tree(preset).items() if name != "meta"}
    optimizer = tree["training"].get("optimizer")
    if optimizer is not None:
        named = optimizer.pop("parameters")
        if named:  # an empty section would count as a value of its own
            optimizer["parameters"] = {key.partition("-")[2]: value for key, value in named.items()}
    return tree


def _lacks_section(tree: dict[str, Any], key: str) -> bool:
    """Whether one of the sections that a dotted key lies in is not there at all."""
    node: Any = tree
    for part in key.split(".")[:-1]:
        node = node.get(part) if node is tree else node.get(part, {})
        if not isinstance(node, dict):
            return node is None
    return False


def _of_most(values: Sequence[str]) -> str:
    """Return the value that more than half of them have, or ``MISSING``."""
    value, count = Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else MISSING


def _item(name: str, settings: Mapping[str, str]) -> str:
    """Return a name and its settings, those of a section behind the name of the section."""
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        section, _, last = key.rpartition(".")
        text = f"<span>{html.escape(last)} <b>{html.escape(value)}</b></span>"
        sections.setdefault(section, []).append(text)
    lines = "".join(
        f"<div>{f'<code>{html.escape(section)}</code>' if section else ''}{' '.join(own)}</div>"
        for section, own in sorted(sections.items())
    )
    return f"<dt>{breakable(name)}</dt><dd>{lines or MISSING}</dd>"
