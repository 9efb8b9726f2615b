import sys

import pytest

from ultra_core.errors import PluginError, UnknownNameError
from ultra_core.plugins.kinds import presets as installed
from ultra_core.plugins.preset_files import Presets

PRESET = "meta:\n  summary: One line about it\nmodel: {this is not: [read}\n"
FILES = {
    "heavy/__init__.py": "raise RuntimeError('this must not be imported')",
    "heavy/presets/__init__.py": "",
    "heavy/presets/tiny_one.yaml": PRESET,
    "heavy/presets/bare.yaml": "model: {}\n",
    "heavy/presets/Bad-Name.yaml": "meta: {}\n",
    "heavy/presets/schema.yaml": "type: object\n",
    "heavy/presets/readme.txt": "no preset",
}


@pytest.fixture
def presets(install):
    install("heavy-presets", [("ultra.presets", "heavy", "heavy.presets")], FILES)
    return Presets("ultra.presets", "preset")


def test_every_file_of_the_package_is_a_name(presets):
    assert {"tiny_one", "bare"} < set(presets.names())
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
    with pytest.raises(PluginError, match="no longer exists"):
        presets.get("mine")
    file.write_text("meta: {summary: Mine}\n")
    assert presets.get("mine") == file
    assert presets.entry("local:mine").target == str(file)


def test_our_own_presets_are_found_without_importing_their_package():
    assert {"quickstart", "standard", "tinybert", "embbert", "mini"} <= set(installed.names())
