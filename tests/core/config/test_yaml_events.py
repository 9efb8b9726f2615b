"""Long texts are read by libyaml, as ruamel reads short ones: the same nodes, positions and faults."""

from typing import Any

import pytest
import yaml

from ultra_core import presets
from ultra_core.config import yaml_events
from ultra_core.config.source import Node
from ultra_core.config.yaml_parser import parse
from ultra_core.errors import ConfigError

TEXTS = {
    "scalars": "a: 1e-6\nb: yes\nc: ~\nd: 'x: y'\ne: \"\\u00e9\"\nf:\ng: [1, , 2]\nh: {a: b, c: }\n",
    "blocks": "a: |\n  one\n  two\nb: >\n  three\n  four\n\nc: # note\n  - 1\n  -\n  - x\n",
    "anchors": "a: &x {b: 1}\nc: *x\nd: [&y 3, *y]\n",
    "faults": "a: 1\na: 2\n1: x\nb: !!str 3\n<<: {c: 1}\nd: .inf\n",
    "unicode": "clé: ñandú\n日本: [語]\n",
}


def plain(node: Node | None) -> Any:
    assert node is not None
    place = (node.line, node.column, node.key_lines)
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}, place
    return [plain(child) for child in node.value] if isinstance(node.value, list) else node.value, place


def read(text: str) -> Any:
    try:
        root, faults = parse(text, "file")
    except ConfigError as error:
        return [(f.line, f.column, f.path) for f in error.faults]
    return plain(root), faults


@pytest.fixture
def libyaml(monkeypatch):
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")
    return lambda: monkeypatch.setattr(yaml_events, "LARGE", 0)


@pytest.mark.parametrize("name", [*TEXTS, *presets.names()])
def test_the_same_nodes_places_and_faults(name, libyaml):
    text = TEXTS[name] if name in TEXTS else presets.get(name).read_text("utf-8")
    expected = read(text)
    libyaml()
    assert read(text) == expected


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: b: c\n", "a:\n\t- b\n", "a: 1\n---\nb: 2\n", "a: *nothing\n"]
)
def test_what_is_no_yaml_is_a_fault_of_both(text, libyaml):
    with pytest.raises(ConfigError):
        parse(text)
    libyaml()
    with pytest.raises(ConfigError, match=r"<text>:\d+:\d+: "):
        parse(text)


def test_a_long_text_takes_the_fast_way(monkeypatch):
    from ruamel.yaml import YAML

    taken = []
    parse_slowly = YAML.parse
    monkeypatch.setattr(YAML, "parse", lambda self, text: taken.append(text) or parse_slowly(self, text))
    parse("a: 1\n")
    assert len(taken) == 1
    pytest.importorskip("yaml")
    parse("a: 1\n" * (yaml_events.LARGE // 5 + 1))
    assert len(taken) == 1
