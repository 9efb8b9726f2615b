"""``ultra_blocks.build``: modules from registered names."""

import pytest
import torch

from ultra_blocks import GLU, MLP, ContiguousMixer, RetNet, RMSNorm, RoPE, StandardAttention, build
from ultra_core import blocks, ffns, norms, positions
from ultra_core.errors import NameClashError, PluginError, UnknownNameError

MODULES = [
    pytest.param(registry, name, id=name)
    for registry in (blocks, norms, ffns, positions)
    for name in registry.names()
]


@pytest.mark.parametrize(("registry", "name"), MODULES)
def test_every_name_is_built_with_its_defaults(registry, name) -> None:
    assert type(build(name, 48)) is registry.get(name)


def test_options_are_those_of_the_constructor() -> None:
    block = build("retnet", 256, num_heads=4, causal=True)
    assert isinstance(block, RetNet)
    assert (block.num_heads, block.causal) == (4, True)
    norm = build("rms_norm", 256, place="final", eps=1e-3)
    assert isinstance(norm, RMSNorm)
    assert (norm.place, norm.eps) == ("final", 1e-3)
    assert build("standard_attn", 64, linear=torch.nn.Linear).num_heads == 1


def test_an_ffn_is_four_times_as_wide_unless_told() -> None:
    ffn = build("mlp", 16)
    assert isinstance(ffn, MLP)
    assert ffn.ffn_hidden_size == 64
    ffn = build("glu", 16, ffn_hidden_size=24)
    assert isinstance(ffn, GLU)
    assert ffn.ffn_hidden_size == 24


@pytest.mark.parametrize(("options", "width"), [({}, 64), ({"num_heads": 8}, 32), ({"head_dim": 16}, 16)])
def test_a_position_code_is_for_the_heads_of_a_block(options, width) -> None:
    code = build("rope", 256, base=1e5, **options)
    assert isinstance(code, RoPE)
    assert (code.head_dim, code.base) == (width, 1e5)
    assert build("alibi", 256, head_dim=32).num_heads == 8


def test_aliases_and_distributions() -> None:
    assert build("swiglu", 16).activation == "silu"
    assert build("swiglu", 16, activation="gelu").activation == "gelu"
    assert isinstance(build("ultra-blocks:standard_attn", 64), StandardAttention)
    assert isinstance(build("none", 16), type(build("nope", 16)))


def test_unknown_names_and_options() -> None:
    with pytest.raises(UnknownNameError, match=r"'retnett'\. Did you mean 'retnet'.*norms: .*rms_norm"):
        build("retnett", 256)
    with pytest.raises(PluginError, match=r"no option 'num_head'\. Did you mean 'num_heads'"):
        build("retnet", 256, num_head=4)
    with pytest.raises(PluginError, match=r"no option 'bases'\. Did you mean 'base'"):
        build("rope", 256, bases=1)
    with pytest.raises(ValueError, match="chunk_size is 0"):
        build("retnet", 256, chunk_size=0)


def test_a_class_or_an_impossible_width() -> None:
    with pytest.raises(TypeError, match=r"takes a registered name; call <class .*RetNet'> itself"):
        build(RetNet, 64)
    with pytest.raises(TypeError, match=r"retnet: hidden_size is 64\.0; expected a whole number >= 1"):
        build("retnet", 64.0)
    with pytest.raises(ValueError, match="retnet: hidden_size is -1; expected a whole number >= 1"):
        build("retnet", -1)


def test_a_name_of_two_kinds(monkeypatch) -> None:
    monkeypatch.setattr(norms, "_added", [])
    norms.add("retnet", RMSNorm)
    with pytest.raises(NameClashError, match=r"block and a norm.*ultra_core\.blocks\.get\('retnet'\)"):
        build("retnet", 16)
    assert isinstance(build("ultra-blocks:retnet", 16), ContiguousMixer | RetNet)
