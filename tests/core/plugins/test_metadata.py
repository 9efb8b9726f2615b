import pytest

from ultra_core.plugins.metadata import BUILT_IN, disabled, installed_entries, normal, refresh


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
