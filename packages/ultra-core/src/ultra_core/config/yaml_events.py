"""Where the events of a YAML text come from: ruamel's parser, or libyaml's for absurdly long texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

LARGE = 100_000
"""Characters beyond which libyaml reads a text, thirty times as fast; no preset is a tenth as long.

Below it everything is read by ruamel, which knows YAML 1.2 and says more of what is wrong.
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
    # a fresh object every time: after an error ruamel's parser keeps half of the old state
    return YAML(typ="safe", pure=True).parse(text)
