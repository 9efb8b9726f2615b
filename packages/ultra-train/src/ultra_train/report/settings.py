"""The settings of a run that differ from the defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ultra_blocks.config import UltraConfig
from ultra_core import models
from ultra_core.config import unstructure

MISSING = "–"
"""What stands for a value that is not there."""

NOT_SHOWN = ("meta", "mlflow", "name", "notices")
"""Parts of a preset that are no settings of a run, or may hold secrets."""

FILLED_IN = {
    "training.max_steps": "training.scheduler_total_steps",
    "training.eval_every_n_steps": "training.checkpoint_every_n_steps",
}
"""Keys that loading sets to the value of another one where the preset leaves them out."""


@attrs.frozen(kw_only=True)
class Setting:
    """A key whose value is not its default.

    Attributes:
        key: the dotted key.
        value: its value as text.
        default: its default as text; ``MISSING`` where it has none.
    """

    key: str
    value: str
    default: str


def changed_settings(preset: Any) -> list[Setting]:
    """Return the keys of a loaded preset of any form whose values differ from the defaults.

    Those of ``meta`` and ``mlflow`` are left out.
    """
    found: list[Setting] = []
    for field in attrs.fields(type(preset)):
        section = getattr(preset, field.name)
        if isinstance(section, UltraConfig):
            name = preset.model_class or ""
            found += _walk(field.name, section, models.get(name).defaults if name in models else {})
        elif field.name not in NOT_SHOWN:
            found += _changed(field.name, section, None)
    values = {setting.key: setting.value for setting in found}
    return [s for s in found if s.value != values.get(FILLED_IN.get(s.key, ""))]


def _walk(prefix: str, section: Any, defaults: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield the changed keys of a section; ``defaults`` replaces those of its class."""
    for field in attrs.fields(type(section)):
        default = defaults.get(field.name, field.default)
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        yield from _changed(f"{prefix}.{field.name}", getattr(section, field.name), default)


def _changed(key: str, value: Any, default: Any) -> Iterator[Setting]:
    if attrs.has(type(value)):
        yield from _walk(key, value, {})
    elif isinstance(value, tuple) and value and all(attrs.has(type(one)) for one in value):
        for number, one in enumerate(value, start=1):
            yield from _walk(key if len(value) == 1 else f"{key}[{number}]", one, {})
    elif isinstance(value, dict) and any(attrs.has(type(one)) for one in value.values()):
        for name, one in value.items():
            yield from _changed(f"{key}.{name}", one, None)
    elif value is not None and value != default:
        shown = MISSING if default in (attrs.NOTHING, None, (), {}) else as_text(unstructure(default))
        flat = flatten({key: unstructure(value)})
        yield from (Setting(key=k, value=v, default=shown) for k, v in flat.items())


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values of nested mappings as text by dotted key."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = as_text(value)
    return found


def as_text(value: Any) -> str:
    """Return a value as a person would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)) and all(isinstance(one, (str, int, float)) for one in value):
        return ", ".join(map(as_text, value)) or MISSING
    if isinstance(value, dict) and len(told := {k: v for k, v in value.items() if v is not None}) == 1:
        ((name, options),) = told.items()
        return f"{name} ({as_text(options)})" if options else name
    return MISSING if value is None else json.dumps(value, ensure_ascii=False)
