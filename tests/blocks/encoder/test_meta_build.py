"""What constructors refuse is found before a model is built, all of it, at its place in the config."""

from types import SimpleNamespace
from typing import Annotated

import pytest
import torch
from torch import nn

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import config_faults
from ultra_core import blocks, ffns, norms
from ultra_core.contracts import FromModel


def config(**fields):
    small = {"hidden_size": 64, "num_heads": 4, "retention_heads": 4, "ffn_hidden_size": 96, "use_moe": False}
    return UltraConfig(**{**small, **fields})


def faults(**fields):
    return config_faults(config(**fields))


COMBINATIONS = [
    ({"nsa_attn": {"compress_block": 7}}, "compress_stride=16 must divide compress_block=7"),
    ({"titan_attn": {"variant": "mac", "window": 3}}, "window=3 has no meaning for the variant mac"),
    ({"latent_attn": {"rope_dim": 3}}, "even width to form pairs; given head_dim=3"),
    ({"hgrn2": {"conv_size": 4}}, "conv_size 4 has no middle"),
    ({"gla": {"key_expansion": 0.01}}, "key_expansion 0.01"),
]


@pytest.mark.parametrize(("spec", "message"), COMBINATIONS, ids=[*map(str, range(5))])
def test_options_that_do_not_go_together(spec, message):
    ((path, found),) = faults(layer_pattern=["standard_attn", spec])
    assert path == ("layer_pattern", 1, *spec)
    assert message in found


def test_all_of_them_at_once_and_beside_other_faults():
    pattern = [spec for spec, _ in COMBINATIONS]
    found = faults(layer_pattern=["retnett", *pattern], norm_type="layernorm")
    assert [path for path, _ in found] == [
        ("norm_type",),
        ("layer_pattern", 0),
        *(("layer_pattern", 1 + i, *spec) for i, spec in enumerate(pattern)),
    ]
    found = faults(layer_pattern=["standard_attn", {"nsa_attn": {"compress_block": 7}}], positions="alibii")
    assert [path for path, _ in found] == [("positions",), ("layer_pattern", 1, "nsa_attn")]


def test_every_entry_that_has_it():
    wrong = {"hgrn2": {"conv_size": 4}}
    found = faults(layer_pattern=[wrong, "retnet", wrong], num_layers=1)
    assert [path for path, _ in found] == [("layer_pattern", 0, "hgrn2"), ("layer_pattern", 2, "hgrn2")]


def test_what_another_fault_explains_is_not_said_twice():
    assert [path for path, _ in faults(num_heads=5)] == [("num_heads",)]
    assert [path for path, _ in faults(use_moe=True, top_k_experts=9)] == [("top_k_experts",)]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"hidden_size": 20}, ("layer_pattern", 0)),
        ({"hidden_size": 20, "positions": "rope"}, ("positions",)),
        ({"hidden_size": 20, "positions": {"rope": {"base": 5.0}}}, ("positions",)),
        (
            {"hidden_size": 20, "layer_pattern": [{"standard_attn": {"positions": "hope"}}]},
            ("layer_pattern", 0, "standard_attn", "positions"),
        ),
    ],
)
def test_a_position_code_is_blamed_where_it_is_named(fields, path):
    ((found, message),) = faults(**fields)
    assert found == path
    assert "even width" in message


def test_options_of_a_position_code_of_a_layer():
    own = [{"standard_attn": {"positions": {"rope": {"bas": 1.0, "base": -1.0}}}}]
    at = ("layer_pattern", 0, "standard_attn", "positions", "rope")
    found = faults(layer_pattern=own)
    assert [path for path, _ in found] == [(*at, "bas"), (*at, "base")]
    assert "Did you mean 'base'" in found[0][1]


def test_a_causal_model_is_built_causal():
    even = [{"hgrn2": {"conv_size": 4}}]
    assert faults(layer_pattern=even, causal=True) == []
    assert len(faults(layer_pattern=even)) == 1


class Picky(nn.Module):
    """Refuses a depth, and what draws or allocates."""

    traits = SimpleNamespace(causal=True, positions=frozenset())

    def __init__(
        self,
        hidden_size: int,
        *,
        depth: Annotated[float, FromModel("layer_depth")] = 0.0,
        linear: Annotated[object, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden_size, 10**6))
        self.proj = linear(hidden_size, hidden_size, bias=False)
        assert {p.device.type for p in self.parameters()} == {"meta"}
        torch.randn(3, device="cpu")
        if depth > 0.5:
            raise ValueError(f"Picky: depth {depth}")


class Broken(nn.Module):
    """Cannot be built."""

    def __init__(self, hidden_size: int) -> None:
        raise KeyError("weights")


class BrokenFFN(nn.Module):
    """Cannot be built either."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        raise RuntimeError("no")


class ScaleNorm(nn.Module):
    """Has no idea of heads."""

    def __init__(self, hidden_size: int, *, place: str = "mixer", groups: int = 1) -> None:
        super().__init__()
        if place == "head" and groups > 1:
            raise ValueError("ScaleNorm: groups make no sense in the head")


@pytest.fixture
def _plugins(monkeypatch):
    for registry in (blocks, ffns, norms):
        monkeypatch.setattr(registry, "_added", [])
    blocks.add("picky", Picky, source="a-plugin")
    blocks.add("broken_block", Broken, source="a-plugin")
    ffns.add("broken_ffn", BrokenFFN, source="a-plugin")
    norms.add("scale_norm", ScaleNorm, source="a-plugin")


@pytest.mark.usefixtures("_plugins")
class TestThirdParties:
    def test_the_depth_of_every_layer_is_tried(self):
        assert faults(layer_pattern=["picky", "retnet"], num_layers=3)[0] == (
            ("layer_pattern", 0),
            f"Picky: depth {2 / 3}",
        )
        assert faults(layer_pattern=["retnet", "picky"], num_layers=3) == []

    def test_the_global_generator_is_left_alone(self):
        before = torch.get_rng_state()
        assert faults(layer_pattern=["picky", "mamba"], num_layers=2, norm_type="derf", use_moe=True) == []
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_broken_plugin_is_named(self):
        ffn, block = (message for _, message in faults(layer_pattern=["broken_block"], ffn="broken_ffn"))
        assert "the block 'broken_block' of a-plugin" in block
        assert "cannot be built: KeyError: 'weights'" in block
        assert "the ffn 'broken_ffn' of a-plugin" in ffn

    def test_every_place_of_a_norm(self):
        ((path, message),) = faults(norm_type={"scale_norm": {"groups": 2}})
        assert (path, message) == (
            ("norm_type", "scale_norm"),
            "ScaleNorm: groups make no sense in the head",
        )
