"""Other names of plugins, which their classes declare and metadata and source alone tell."""

import subprocess
import sys
from typing import Any, ClassVar

import pytest

from ultra_core import blocks, ffns
from ultra_core.errors import NameClashError, UnknownNameError
from ultra_core.plugins import kinds
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.registry import Registry


class Named:
    aliases: ClassVar[dict[str, Any]] = {"other": Alias(options={"size": 3}, remark="see there"), "odd": 3}
    resembles: ClassVar[dict[str, str]] = {"absent": "which is larger"}


class Heir(Named):
    pass


@pytest.fixture
def registry():
    made = Registry("ultra.none", "thing")
    made.add("named", Named)
    made.add("heir", Heir)
    return made


def test_another_name_is_the_plugin(registry):
    assert registry.get("other") is Named
    assert registry.get("local:other") is Named
    assert "other" in registry
    assert "odd" not in registry
    assert registry.names() == ("heir", "named")
    assert registry.canonical("other") == ("named", Alias(options={"size": 3}, remark="see there"))
    assert registry.canonical("local:other")[0] == "local:named"
    assert registry.canonical("named") == ("named", None)
    assert registry.canonical("nothing") == ("nothing", None)
    assert set(registry.aliases("named")) == {"other"}


def test_it_is_not_inherited(registry):
    assert registry.aliases("heir") == {}


def test_a_name_of_its_own_wins(registry):
    registry.add("other", Heir)
    assert registry.get("other") is Heir
    assert registry.canonical("other") == ("other", None)
    assert registry.aliases("named") == {}


def test_two_plugins_with_the_same_other_name(registry):
    registry.add("twin", type("Twin", (), {"aliases": {"other": Alias()}}))
    with pytest.raises(NameClashError, match="local:named, local:twin"):
        registry.get("other")


def test_what_is_close_to_a_method_that_is_not_there(registry):
    with pytest.raises(UnknownNameError, match=r"unknown thing 'absent'\. The closest is 'named', which is"):
        registry.get("absent")


def test_other_names_are_read_without_an_import():
    code = (
        "import sys; from ultra_core import blocks, ffns, optimizers;"
        "assert blocks.entry('gla_attn').name == 'gla';"
        "assert ffns.canonical('swiglu')[1].options == {'activation': 'silu'};"
        "assert optimizers.entry('q_apollo').name == 'apollo_8bit';"
        "assert not {'torch', 'ultra_blocks.mixers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", [k for k in kinds.KINDS if k != "presets"])
def test_other_names_of_what_is_installed_are_free_and_import_alike(kind):
    registry = kinds.KINDS[kind]
    read = {name: registry.aliases(name) for name in registry.names()}
    others = [other for aliases in read.values() for other in aliases]
    assert len(set(others)) == len(others)
    assert not set(others) & set(registry.names())
    for name, aliases in read.items():
        plugin = registry.get(name)
        assert (vars(plugin).get("aliases", {}) if isinstance(plugin, type) else {}) == aliases


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("gla_attn", "gla"),
        ("deltanet_attn", "deltanet"),
        ("gated_deltanet_attn", "gated_deltanet"),
        ("hgrn2_attn", "hgrn2"),
        ("retnet_attn", "retnet"),
        ("mamba_attn", "mamba"),
        ("kda_attn", "kda"),
    ],
)
def test_blocks_are_also_called_attention(name, own):
    assert blocks.canonical(name) == (own, Alias())
    assert blocks.get(name) is blocks.get(own)


def test_gated_ffns_imply_their_activation():
    assert ffns.canonical("geglu") == ("glu", Alias(options={"activation": "gelu"}))
