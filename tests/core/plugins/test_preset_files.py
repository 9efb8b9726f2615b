import sys

import pytest

from ultra_core.errors import PluginError, UnknownNameError
from ultra_core.plugins.kinds import presets as installed
from ultra_core.plugins.preset_files import Presets

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
FILES = {
    "heavy/__init__.py": "raise RuntimeError('this must not be imported')",
    "heavy/presets/__init__.py": "",
    "heavy/presets/tiny_one.yaml": PRESET,
    "heavy/presets/bare.yaml": "model: {}\n",
    "heavy/presets/odd.yaml": "meta: [a list]\n",
    "heavy/presets/bad.yaml": "meta: {summary: [}\nmodel: {}\n",
    "heavy/presets/Bad-Name.yaml": "meta: {}\n",
    "heavy/presets/schema.yaml": "type: object\n",
    "heavy/presets/readme.txt": "no preset",
}


@pytest.fixture
def presets(install):
    install("heavy-presets", [("ultra.presets", "heavy", "heavy.presets")], FILES)
    return Presets("ultra.presets", "preset")


def test_every_file_of_the_package_is_a_name(presets):
    assert {"tiny_one", "bare", "odd", "bad"} < set(presets.names())
    assert not {"schema", "readme", "Bad-Name"} & set(presets.names())
    entry = presets.entry("tiny_one")
    assert (entry.distribution, entry.version) == ("heavy-presets", "1.2.0")
    assert presets.get("tiny_one").read_text() == PRESET
    assert presets.get("heavy-presets:tiny_one") == presets.get("tiny_one")
    assert "heavy" not in sys.modules


def test_a_malformed_name_is_reported(presets):
    ((entry, reason),) = presets.broken()
    assert entry.name == "Bad-Name"
    assert "lower-case" in reason


def test_the_section_meta_is_read_alone(presets):
    assert presets.meta("tiny_one") == {
        "summary": "One line about it",
        "guides": ["best_first_run"],
        "vram": "low",
    }
    assert presets.summary(presets.entry("tiny_one")) == "One line about it"
    for name in ("bare", "odd", "bad"):
        assert presets.meta(name) == {}
        assert presets.summary(presets.entry(name)) == ""


def test_a_file_that_went_away(presets):
    presets.get("bare").unlink()
    with pytest.raises(UnknownNameError, match="bare"):
        presets.get("bare")


def test_a_package_that_is_not_there_hurts_nobody_else(install):
    install("lost-presets", [("ultra.presets", "lost", "nowhere.presets")])
    presets = Presets("ultra.presets", "preset")
    assert "quickstart" in presets
    ((entry, reason),) = presets.broken()
    assert entry.distribution == "lost-presets"
    assert "nowhere.presets" in reason


def test_a_file_is_added_at_run_time(tmp_path):
    presets = Presets("ultra.presets", "preset")
    file = tmp_path / "mine.yaml"
    presets.add("mine", file)
    with pytest.raises(PluginError, match="gone"):
        presets.get("mine")
    file.write_text("meta: {summary: Mine}\n")
    assert presets.get("mine") == file
    assert presets.summary(presets.entry("local:mine")) == "Mine"


def test_our_own_presets_are_found_without_importing_their_package():
    assert {"quickstart", "standard", "tinybert", "embbert", "mini"} <= set(installed.names())
    for name in installed.names():
        assert installed.meta(name)["summary"]
