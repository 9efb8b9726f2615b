import pytest

from ultra_core.config.preset_meta import parse_meta, parse_simple, parse_yaml, read_meta
from ultra_core.plugins.kinds import presets

LINES = [
    "summary: Four layers, behind a convolution",
    "summary: 3 layers",
    "summary: true",
    "summary: 'quoted: text'",
    "summary: a # comment",
    "summary: a: b",
    "summary: a\n    goes on",
    "summary: >-\n    folded\n    text",
    "guides: [lowest_vram, best_first_run]",
    "guides: [a, b: c]",
    "guides: []",
    "guides: [null, true, yes]",
    "guides:\n    - a\n    - b",
    "papers: [https://arxiv.org/abs/2502.10001, doi:10.1/x]",
    "summary: one\n  vram: low   ",
    "summary: one\n   vram: low",
    "summary: á é",
    "nested: {a: 1}",
    "papers:\n    - https://arxiv.org/abs/2502.10001\n    - ab\n  vram: low",
    "papers:\n    - a\n    - b: c",
    "papers:\n  vram: low",
    "papers:",
    "vram: low\n  vram: high",
    "papers:\n  - same indent",
    "summary: tab\there",
    "summary: trailing:",
    "words: [a-b, c/d]",
    "# a comment",
]


@pytest.mark.parametrize("line", LINES)
def test_both_readings_of_meta_agree(line):
    text = f"model: {{}}\nmeta:\n  {line}\ntraining: {{}}\n"
    assert parse_meta(text) == parse_yaml(text)


def test_our_own_presets_need_no_yaml_library():
    for entry in presets.entries():
        if entry.distribution == "ultra-train":
            text = presets.get(entry.name).read_text()
            section = text[text.index("meta:") : text.index("\nmodel")]
            assert parse_simple(section) == parse_yaml(section) == presets.meta(entry.name)


def test_what_cannot_be_read_is_empty(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"meta:\n  summary: caf\xe9\n")
    assert read_meta(tmp_path / "latin.yaml") == {}
    assert read_meta(tmp_path / "absent.yaml") == {}
    assert parse_meta("model: {}\n") == {}
    assert parse_meta("meta: [}\n") == {}
