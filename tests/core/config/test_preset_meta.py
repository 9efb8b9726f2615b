import pytest

from ultra_core import presets
from ultra_core.config import load_source
from ultra_core.config.preset_meta import parse_meta, read_meta

PRESET = """\
# a comment
meta:
  summary: One line about it
  guides: [best_first_run]

  # a comment inside
  vram: low
model_class: mini
model: {this is not: [read}
"""


def test_the_section_is_read_alone():
    meta = {"summary": "One line about it", "guides": ["best_first_run"], "vram": "low"}
    assert parse_meta(PRESET) == meta
    assert parse_meta("model: {}\nmeta: {a: [1, true]}") == {"a": [1, True]}


def test_the_section_ends_where_the_yaml_parser_ends_it():
    for entry in presets.entries():
        if entry.distribution == "ultra-train":
            file = presets.get(entry.name)
            assert read_meta(file) == load_source(file).tree["meta"]
            assert read_meta(file)["summary"]


@pytest.mark.parametrize(
    "text",
    ["", "model: {}\n", "meta: [a list]\n", "meta: [}\n", "meta: {summary: [}\nmodel: {}\n", "meta:\n"],
)
def test_a_section_that_is_absent_or_faulty_is_empty(text):
    assert parse_meta(text) == {}


def test_a_file_that_cannot_be_read_has_no_section(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"meta:\n  summary: caf\xe9\n")
    assert read_meta(tmp_path / "latin.yaml") == {}
    assert read_meta(tmp_path / "absent.yaml") == {}
