"""A plugin that is not installed is found in the folders of packages."""

import pytest

from ultra_train.cli.plugin.sources import offering

PROJECT = """
[project.entry-points."ultra.blocks"]
pool = "pool.block:Pool"

[project.entry-points.console_scripts]
swim = "pool:main"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_this_folder_or_one_below(folder):
    (folder / "pool").mkdir()
    (folder / "pool" / "pyproject.toml").write_text(PROJECT)
    assert offering("pool") == "./pool"
    (folder / "pyproject.toml").write_text(PROJECT)
    assert offering("pool") == "."


@pytest.mark.parametrize("name", ["swim", "lake"])
def test_other_names(folder, name):
    (folder / "pyproject.toml").write_text(PROJECT)
    assert offering(name) == ""


@pytest.mark.parametrize("text", [b"[", b"\xff", b"project = 1", b"[project]\nname = 'a'"])
def test_files_that_cannot_be_read_offer_nothing(folder, text):
    (folder / "pyproject.toml").write_bytes(text)
    assert offering("pool") == ""
