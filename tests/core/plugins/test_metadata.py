import sys

import pytest

from ultra_core.errors import PluginError
from ultra_core.plugins.metadata import BUILT_IN, Entry, disabled, installed_entries, normal, refresh


@pytest.mark.parametrize("name", ["my-plugin", "My_Plugin", " my.plugin ", "MY--PLUGIN"])
def test_names_of_distributions_in_normal_form(name):
    assert normal(name) == "my-plugin"


def test_who_is_switched_off(monkeypatch):
    monkeypatch.delenv("ULTRA_DISABLE_PLUGINS")
    assert not disabled("my-plugin")
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", " , My_Plugin,")
    assert disabled("my-plugin")
    assert not disabled("another")
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", "*")
    assert disabled("another")
    assert not any(map(disabled, BUILT_IN))


def test_what_is_installed_later_is_seen_after_a_refresh(install):
    folder = install("growing", [("ultra.norms", "one", "a:b")])
    assert {e.name for e in installed_entries("ultra.norms") if e.distribution == "growing"} == {"one"}
    (info,) = folder.glob("*.dist-info")
    (info / "entry_points.txt").write_text("[ultra.norms]\none = a:b\ntwo = a:c\n")
    refresh()
    assert {e.name for e in installed_entries("ultra.norms") if e.distribution == "growing"} == {"one", "two"}


def test_other_groups_are_left_alone(install):
    install("tool", [("console_scripts", "tool", "tool:main"), ("ultra.tasks", "job", "tool:Job")])
    assert installed_entries("console_scripts") == []
    assert [e.name for e in installed_entries("ultra.tasks") if e.distribution == "tool"] == ["job"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("\nraise RuntimeError('one\\ntwo')\n", r"RuntimeError: one two \(broken_part\.py:2\)\. Repair"),
        ("import nowhere_at_all\n", r"No module named 'nowhere_at_all' \(broken_part\.py:1\)\. Repair"),
        ("x = 1\n", r"has no attribute 'Part'\. Repair"),
    ],
)
def test_an_import_that_fails_names_the_line(code, reason, tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_part", raising=False)
    with pytest.raises(PluginError, match=reason):
        Entry("part", "my-plugin", "1", "broken_part:Part").load()
