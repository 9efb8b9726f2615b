"""Parser events of a YAML text: from ruamel.yaml, or from libyaml for absurdly long texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

LARGE = 100_000
"""Number of characters beyond which libyaml, thirty times as fast, parses a text.

No preset is a tenth as long. Shorter texts are parsed by ruamel.yaml, which implements YAML 1.2 and has
better error messages.
"""


def events(text: str) -> Iterator[Any]:
    """Yield the events of a YAML text; both libraries give them the same names and attributes.

    Raises:
        MarkedYAMLError: the text is no YAML; one of ruamel.yaml or of PyYAML.
    """
    if len(text) > LARGE:
        import yaml

        if yaml.__with_libyaml__:
            return yaml.parse(text, Loader=yaml.CLoader)
    # a new object every time: after an error the parser of ruamel.yaml keeps some of its state
    return YAML(typ="safe", pure=True).parse(text)
