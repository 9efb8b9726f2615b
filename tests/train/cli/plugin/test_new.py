"""plugin new: what it writes, and what it refuses. That the packages work is tested in tests/packaging."""

import ast
import os
import tomllib

import pytest

from ultra_train.cli.plugin.new import LONGEST
from ultra_train.cli.plugin.templates import GROUPS


def new(ultra, folder, name, kind="block", *, code=0):
    result = ultra("plugin", "new", name, "--kind", kind, "--to", str(folder))
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("kind", GROUPS)
def test_the_names_of_the_template_are_gone_from_a_package(ultra, tmp_path, kind):
    new(ultra, tmp_path / "made", "second_wind", kind)
    written = [path for path in (tmp_path / "made").rglob("*") if path.is_file()]
    text = "".join(f"{path}\n{path.read_text()}" for path in written)
    assert not {"plugin_name", "PluginName", "plugin_function", "plugin-name"} & set(text.split())
    assert "plugin_name" not in text
    assert {"README.md", "pyproject.toml", "second_wind.yaml", "test_second_wind.py"} <= {
        p.name for p in written
    }
    for path in written:
        if path.suffix == ".py":
            ast.parse(path.read_text())


def test_the_project_bounds_the_versions_of_ultra_that_are_installed(ultra, tmp_path, monkeypatch):
    installed = {"ultra-core": "0.3.1", "ultra-blocks": "2.4.0.dev1"}
    monkeypatch.setattr("ultra_train.cli.plugin.templates.version", installed.__getitem__)
    new(ultra, tmp_path / "made", "second_wind")
    project = tomllib.loads((tmp_path / "made" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "second-wind"
    assert project["dependencies"] == ["torch", "ultra-blocks>=2.4.0.dev1,<3", "ultra-core>=0.3,<0.4"]
    assert project["optional-dependencies"]["testing"] == ["ultra-blocks[testing]>=2.4.0.dev1,<3"]
    assert project["entry-points"]["ultra.blocks"] == {"second_wind": "second_wind.block:SecondWind"}


def test_a_class_is_not_called_like_another_in_its_module(ultra, tmp_path):
    new(ultra, tmp_path / "made", "mixer")
    assert "class MixerBlock(Mixer):" in (tmp_path / "made/src/mixer/block.py").read_text()


def test_the_folder_is_called_like_the_distribution_unless_another_is_named(ultra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ultra("plugin", "new", "second__wind", "--kind", "optimizer")
    assert (tmp_path / "second-wind" / "pyproject.toml").exists()
    assert "cd second-wind" in result.output


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("my-block", "lower-case letters, digits and underscores"),
        ("Block", "lower-case letters"),
        ("1st", "lower-case letters"),
        ("_x", "begin with a letter"),
        ("", "lower-case letters"),
        ("b" * (LONGEST + 1), f"at most {LONGEST}"),
        ("lambda", "a keyword of Python"),
        ("json", "Python's standard library"),
        ("torch", "is installed in this environment"),
        ("ultra_blocks", "is installed in this environment"),
        ("_pytest", "lower-case letters"),
        ("yaml", "a module of this name is installed"),
        ("retnet", "the block retnet of ultra-blocks 0.1.0"),
        ("swiglu", "the ffn glu of ultra-blocks 0.1.0"),
        ("cosine", "the schedule cosine of ultra-optim 0.1.0"),
    ],
)
def test_names_that_cannot_be_used(ultra, tmp_path, name, why):
    result = new(ultra, tmp_path / "made", name, code=2)
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_name_is_suggested_in_the_form_of_names(ultra, tmp_path):
    assert "Did you mean 'my_block'?" in new(ultra, tmp_path / "made", "My-Block", code=2).stderr


def test_an_unknown_kind_suggests_the_right_one(ultra, tmp_path):
    result = new(ultra, tmp_path / "made", "second_wind", "optimiser", code=2)
    assert "Did you mean 'optimizer'?" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nothing_is_overwritten(ultra, tmp_path):
    (tmp_path / "made").mkdir()
    new(ultra, tmp_path / "made", "second_wind")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for folder in (tmp_path / "made", tmp_path / "made" / "README.md"):
        assert "nothing is overwritten" in new(ultra, folder, "second_wind", code=2).stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_cannot_be_written_leaves_nothing_behind(ultra, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    result = new(ultra, tmp_path / "file" / "made", "second_wind", code=2)
    assert "cannot be written: Not a directory" in result.stderr

    def refuse(*paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    result = new(ultra, tmp_path / "made", "second_wind", code=2)
    assert "made cannot be written: Permission denied" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
