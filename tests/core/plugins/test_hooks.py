import inspect
import re
import sys
import types
from pathlib import Path

import pytest

from ultra_core import blocks
from ultra_core.errors import PluginError
from ultra_core.plugins import hooks
from ultra_core.plugins.hooks import build_manager, hookimpl, plugin_entries, plugin_manager, specifications

GUIDE = Path(__file__).parents[3] / "docs" / "plugins" / "hooks.md"


def module(**attributes):
    made = types.ModuleType("made_up_plugin")
    vars(made).update(attributes)
    return made


def test_hooks_are_called_with_the_arguments_that_they_name():
    @hookimpl
    def ultra_callbacks():
        return ["callback"]

    class Plugin:
        @hookimpl
        def ultra_evaluate(self, model):
            return {"score": model}

    manager = build_manager([("a:module", module(ultra_callbacks=ultra_callbacks)), ("b:class", Plugin)])
    assert manager.hook.ultra_callbacks(run=None) == [["callback"]]
    assert manager.hook.ultra_evaluate(run=None, model=0.5) == [{"score": 0.5}]
    assert manager.hook.ultra_run_finished(run=None) == []


def test_a_misspelt_hook_is_an_error():
    @hookimpl
    def ultra_callback(run): ...

    with pytest.raises(
        PluginError, match=r"plugin a:x implements ultra_callback.*Did you mean 'ultra_callbacks'"
    ):
        build_manager([("a:x", module(ultra_callback=ultra_callback))])


def test_an_optional_hook_may_be_unknown():
    @hookimpl(optionalhook=True)
    def ultra_of_the_future(run): ...

    build_manager([("a:x", module(ultra_of_the_future=ultra_of_the_future))])


def test_an_unmarked_hook_is_an_error():
    def ultra_callbacks(run): ...

    with pytest.raises(PluginError, match=r"ultra_callbacks of the plugin a:x is not marked"):
        build_manager([("a:x", module(ultra_callbacks=ultra_callbacks))])


def test_an_argument_that_the_hook_has_not_is_an_error():
    @hookimpl
    def ultra_callbacks(runs): ...

    with pytest.raises(PluginError, match=r"(?s)a:x.*runs"):
        build_manager([("a:x", module(ultra_callbacks=ultra_callbacks))])


def test_a_class_that_cannot_be_made_is_an_error():
    class Plugin:
        def __init__(self, needed): ...

    with pytest.raises(PluginError, match=r"a:x cannot be instantiated: TypeError"):
        build_manager([("a:x", Plugin)])


def test_plugins_are_imported_when_hooks_are_used_and_register_names(install):
    source = """
        from ultra_core.plugins.hooks import hookimpl

        class Block:
            "A block."

        @hookimpl
        def ultra_register(registries):
            registries.blocks.add("registered_by_hook", Block, source="hooked")
        """
    install("hooked", [("ultra.plugins", "hooked", "hooked_plugin")], {"hooked_plugin.py": source})
    assert [(e.distribution, e.name) for e in plugin_entries()] == [("hooked", "hooked")]
    assert "hooked_plugin" not in sys.modules
    manager = plugin_manager()
    assert manager.has_plugin("hooked:hooked")
    assert plugin_manager() is manager
    try:
        assert blocks.get("hooked:registered_by_hook").__name__ == "Block"
    finally:
        blocks._added.clear()


@pytest.mark.parametrize("off", ["failing", "*"])
def test_a_plugin_that_fails_stops_only_who_uses_hooks_and_can_be_switched_off(install, monkeypatch, off):
    install("failing", [("ultra.plugins", "oops", "failing_plugin")], {"failing_plugin.py": "1 / 0"})
    assert "retnet" in blocks.names()
    with pytest.raises(
        PluginError, match=r"'oops' of failing 1\.2\.0.*ULTRA_DISABLE_PLUGINS=failing"
    ) as caught:
        plugin_manager()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", off)
    assert plugin_manager().get_plugins() == set()


def test_every_hook_is_typed_and_documented():
    for name, function in specifications().items():
        assert inspect.getdoc(function), name
        signature = inspect.signature(function)
        annotations = [p.annotation for p in signature.parameters.values()]
        assert inspect.Parameter.empty not in [*annotations, signature.return_annotation], name


def test_the_guide_says_what_the_specifications_say():
    said = re.findall(r"^\| `(ultra_\w+\([^`]*\))` \| (.+) \|$", GUIDE.read_text(), re.MULTILINE)
    meant = [
        (
            f"{name}({', '.join(inspect.signature(function).parameters)})",
            inspect.getdoc(function).splitlines()[0],
        )
        for name, function in specifications().items()
    ]
    assert said == meant


def test_the_hooks_of_the_design_are_there():
    assert list(specifications()) == [
        "ultra_register",
        "ultra_config_loaded",
        "ultra_model_built",
        "ultra_parameter_roles",
        "ultra_parameter_info",
        "ultra_callbacks",
        "ultra_evaluate",
        "ultra_checkpoint_saved",
        "ultra_run_finished",
    ]
    assert set(vars(hooks.Registries())) == {
        "blocks", "norms", "ffns", "positions", "optimizers", "schedules", "models", "tasks", "presets",
    }  # fmt: skip
