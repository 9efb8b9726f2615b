"""Writes instances of attrs classes as plain mappings and YAML text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from ultra_core.config.scalars import is_string
from ultra_core.config.structuring import converter


def unstructure(value: Any) -> Any:
    """Return an instance as plain dicts, lists and scalars, including all defaults."""
    return _plain(converter().unstructure(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value


class _Representer(SafeRepresenter):
    """Quotes every string that would be read back as something else."""

    def represent_string(self, text: str) -> Any:
        style = None if is_string(text) and text != "<<" else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _Representer.represent_string)


def dump(tree: Mapping[str, Any]) -> str:
    """Return a plain mapping as YAML text, in its order, that ``parse_source`` reads back unchanged."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(_plain(tree), stream)
    return stream.getvalue()
