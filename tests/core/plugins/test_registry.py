import subprocess
import sys

import pytest

from ultra_core import blocks, presets
from ultra_core.errors import NameClashError, PluginError, UnknownNameError
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.registry import Registry
from ultra_core.plugins.source_files import summary

BOOM = "raise RuntimeError('this must not be imported')"


@pytest.fixture
def registry():
    return Registry("ultra.blocks", "block")


def test_names_come_from_metadata_and_import_nothing(install, registry):
    install("explosive", [("ultra.blocks", "boom", "explosive_module:Boom")], {"explosive_module.py": BOOM})
    assert "boom" in registry.names()
    assert "boom" in registry
    entry = registry.entry("boom")
    assert (entry.name, entry.distribution, entry.version) == ("boom", "explosive", "1.2.0")
    assert entry.target == "explosive_module:Boom"
    assert "explosive_module" not in sys.modules


def test_get_imports_the_one_that_is_asked_for(install, registry):
    files = {"good.py": "class Good: ...", "bad.py": BOOM}
    install("mixed", [("ultra.blocks", "good", "good:Good"), ("ultra.blocks", "bad", "bad:Bad")], files)
    assert registry.get("good").__name__ == "Good"
    assert "bad" not in sys.modules


@pytest.mark.parametrize(
    ("target", "content", "reason"),
    [
        ("broken:Block", BOOM, "RuntimeError: this must not be imported"),
        ("broken:Block", "import no_such_module_anywhere", "ModuleNotFoundError"),
        ("broken:Block", "x = 1", "AttributeError"),
        ("broken:Block", "import sys; sys.exit(3)", "SystemExit"),
        ("broken:Block", "def f(:", "SyntaxError"),
        ("absent:Block", "", "ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_hurts_only_who_names_it(install, registry, target, content, reason):
    install("broken-one", [("ultra.blocks", "cracked", target)], {"broken.py": content})
    assert "retnet" in registry.names()
    with pytest.raises(PluginError, match=reason) as caught:
        registry.get("cracked")
    message = str(caught.value)
    assert "broken-one 1.2.0" in message
    assert "ULTRA_DISABLE_PLUGINS=broken-one" in message
    assert caught.value.__cause__ is not None


def test_a_name_of_two_distributions_is_an_error_that_names_both(install, registry):
    install("first", [("ultra.blocks", "twice", "first_module:A")], {"first_module.py": "class A: ..."})
    install(
        "Second_One", [("ultra.blocks", "twice", "second_module:B")], {"second_module.py": "class B: ..."}
    )
    assert registry.names().count("twice") == 1
    assert len([e for e in registry.entries() if e.name == "twice"]) == 2
    with pytest.raises(NameClashError, match=r"first:twice, second-one:twice"):
        registry.get("twice")
    assert registry.get("first:twice").__name__ == "A"
    assert registry.get("Second.One:twice").__name__ == "B"
    assert "second-one:twice" in registry
    assert "third:twice" not in registry


def test_a_third_party_cannot_replace_a_built_in_in_silence(install):
    install("impostor", [("ultra.blocks", "retnet", "impostor_module:RetNet")])
    with pytest.raises(NameClashError, match="impostor:retnet, ultra-blocks:retnet"):
        blocks.entry("retnet")
    assert blocks.entry("ultra-blocks:retnet").target == "ultra_blocks.mixers.retnet:RetNet"


def test_an_unknown_name_says_what_is_close_and_what_is_installed():
    with pytest.raises(UnknownNameError, match=r"unknown block 'retnets'\. Did you mean 'retnet'") as caught:
        blocks.get("retnets")
    assert "standard_attn" in str(caught.value)
    with pytest.raises(UnknownNameError, match="nobody:retnet"):
        blocks.get("nobody:retnet")
    assert "retnets" not in blocks
    assert 3 not in blocks


@pytest.mark.parametrize("setting", ["third-party", "THIRD_party , other", "*"])
def test_third_parties_are_switched_off_and_our_own_never(install, registry, monkeypatch, setting):
    install("third-party", [("ultra.blocks", "theirs", "theirs:Block")])
    assert "theirs" in registry
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", setting)
    assert "theirs" not in registry
    assert "retnet" in registry
    with pytest.raises(UnknownNameError, match="ULTRA_DISABLE_PLUGINS"):
        registry.entry("theirs")
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", "ultra-blocks,ultra_core")
    assert "retnet" in registry


@pytest.mark.parametrize("name", ["Upper", "1st", "with-dash", "ünïcode", "dot.ted"])
def test_a_malformed_name_is_left_out_and_reported(install, registry, name):
    install("sloppy", [("ultra.blocks", name, "sloppy:Block"), ("ultra.blocks", "fine", "sloppy:Fine")])
    assert name not in registry.names()
    assert "fine" in registry
    ((entry, reason),) = registry.broken()
    assert entry.distribution == "sloppy"
    assert "lower-case" in reason
    with pytest.raises(UnknownNameError, match="lower-case"):
        registry.get(name)


def test_the_first_distribution_on_the_path_is_the_one_that_counts(install, registry):
    install("same", [("ultra.blocks", "old_name", "same:A")], version="1.0")
    install("same", [("ultra.blocks", "new_name", "same:B")], version="2.0")  # before it on the path
    assert "new_name" in registry
    assert "old_name" not in registry


def test_metadata_that_is_no_metadata_is_passed_over(install, registry):
    folder = install("garbled", raw="[ultra.blocks\nno equals sign\n[ultra.blocks]\n= nothing\n")
    nameless = folder / "nameless-1.0.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[ultra.blocks]\nghost = a:b\n")
    assert "retnet" in registry.names()
    assert "ghost" not in registry


def test_the_metadata_is_read_once_for_all_kinds(install, monkeypatch):
    import importlib.metadata

    from ultra_core.plugins import metadata

    calls = []
    monkeypatch.setattr(
        metadata, "distributions", lambda: calls.append(1) or importlib.metadata.distributions()
    )
    metadata.refresh()
    for registry in KINDS.values():
        registry.names()
    assert len(calls) == 1


def test_names_are_added_at_run_time(registry):
    class Mine:
        """A block of a notebook."""

    registry.add("mine", Mine)
    registry.add("lazy", "json:JSONDecoder", source="My_Notebook")
    assert registry.get("mine") is Mine
    assert registry.entry("lazy").distribution == "my-notebook"
    assert registry.get("my-notebook:lazy").__name__ == "JSONDecoder"
    assert summary(registry.entry("mine")) == "A block of a notebook."
    registry.add("mine", Mine)  # the same again changes nothing
    assert len([e for e in registry.entries() if e.name == "mine"]) == 1
    with pytest.raises(NameClashError, match="nothing is overwritten"):
        registry.add("mine", dict)
    with pytest.raises(PluginError, match="lower-case"):
        registry.add("Mine", Mine)


def test_an_added_name_clashes_with_an_installed_one():
    registry = Registry("ultra.blocks", "block")
    registry.add("retnet", dict)
    with pytest.raises(NameClashError, match="local:retnet, ultra-blocks:retnet"):
        registry.get("retnet")
    assert registry.get("local:retnet") is dict


def test_every_registry_is_exported():
    import ultra_core

    assert set(KINDS) == set(ultra_core.__all__)
    for name, registry in KINDS.items():
        assert getattr(ultra_core, name) is registry
        assert registry.group == f"ultra.{name}"
    assert ultra_core.presets is presets


def test_importing_the_core_imports_neither_torch_nor_yaml():
    code = (
        "import sys, ultra_core; ultra_core.blocks.names(); ultra_core.presets.names(); "
        "print([m for m in ('torch', 'numpy', 'ruamel.yaml', 'cattrs', 'pluggy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_of_the_core_imports_torch():
    code = (
        "import pkgutil, sys, importlib, ultra_core\n"
        "for m in pkgutil.iter_modules(ultra_core.__path__):\n"
        "    importlib.import_module('ultra_core.' + m.name)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
