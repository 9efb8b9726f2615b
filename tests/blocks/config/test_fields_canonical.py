"""The canonical form of a config builds what the config builds."""

import random
from typing import Any

import attrs
import pytest

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import config_faults
from ultra_blocks.encoder.sample import sample_encoder

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "ffn_hidden_size": 16,
    "num_experts": 3,
    "top_k_experts": 1,
}
ROPE = {"standard_attn": {"positions": "rope"}}
CHOICES: dict[str, list[Any]] = {
    "positions": [None, "rope", "none", "alibi", "learned", {"rope": {"base": 9.0}}, {"none": {}}, "hope"],
    "ffn": [
        *(None, "swiglu", "SwiGLU", "glu", "mlp", "moe", {"moe": {"expert": "swiglu"}}, {"swiglu": {}}),
        *({"moe": {"expert": {"mlp": {"activation": "Gelu_New"}}}}, {"glu": {"activation": "swish"}}),
    ],
    "ffn_activation": [None, "swiglu", "GEGLU", "SwiGLU", "gelu", "Mish", "hard_swish"],
    "use_moe": [None, True, False],
    "use_hope": [None, True, False],
    "rope_base": [None, 500.0],
    "rope_factor": [None, 2.0],
}
BLOCKS = [
    *("standard_attn", "titan", "gla_attn", "gqa", "mamba_attn", {"titan_attn": {"positions": "none"}}, ROPE),
    *({"standard_attn": {"positions": {"rope": {}}}}, {"gqa": {"positions": {"rope": {"scaling": 3.0}}}}),
]


def parts(config: UltraConfig) -> list[Any]:
    """Return every part of an encoder with the numbers and names that it holds."""
    kinds = (int, float, str, type(None))
    found = []
    for name, module in sample_encoder(config).named_modules():
        said = {key: value for key, value in vars(module).items() if isinstance(value, kinds)}
        found.append((name, type(module).__name__, said))
    return found


def ropes(config: UltraConfig) -> list[tuple[float, float]]:
    """Return base and scaling of the RoPE of every block."""
    modules = [module for module in sample_encoder(config).modules() if type(module).__name__ == "RoPE"]
    return [(module.base, module.scaling) for module in modules]


def test_whatever_is_set():
    draw = random.Random(3)
    valid = 0
    while valid < 20:
        fields = {name: draw.choice(values) for name, values in CHOICES.items()}
        config = UltraConfig(**SMALL, layer_pattern=tuple(draw.sample(BLOCKS, 2)), **fields)
        if config_faults(config):
            continue
        valid += 1
        canonical = config.canonical()
        assert parts(canonical) == parts(config), config
        assert canonical.canonical() == canonical


@pytest.mark.parametrize("own", ["rope", {"rope": {}}, {"rope": {"base": 500.0}}])
def test_a_block_with_its_own_rope_keeps_the_base_of_the_model(own):
    config = UltraConfig(
        **{**SMALL, "use_moe": False},
        layer_pattern=("gqa_attn", {"standard_attn": {"positions": own}}),
        positions="rope",
        rope_base=500.0,
        rope_factor=2.0,
    )
    assert ropes(config) == ropes(config.canonical()) == [(500.0, 2.0)] * 2


@pytest.mark.parametrize("name", ["SwiGLU", "SWIGLU", "swiglu", "Swi_GLU"])
def test_gates_in_any_case(name):
    config = UltraConfig(**SMALL, use_moe=False, ffn_activation=name)
    assert config_faults(config) == []
    assert config.resolved_ffn() == ("glu", {"activation": "silu"})


@pytest.mark.parametrize(
    ("ffn", "own"),
    [
        ({"mlp": {"activation": "gelu_new"}}, {"mlp": {"activation": "gelu_tanh"}}),
        ({"glu": {"activation": "swish"}}, {"glu": {"activation": "silu"}}),
        (
            {"moe": {"expert": {"mlp": {"activation": "Hard_Swish"}}}},
            {"moe": {"expert": {"mlp": {"activation": "hardswish"}}}},
        ),
    ],
)
def test_activations_of_an_ffn_have_the_same_names(ffn, own):
    config = UltraConfig(**SMALL, ffn=ffn)
    assert config_faults(config) == []
    assert config.canonical().ffn == own
    ((_, message),) = config_faults(UltraConfig(**SMALL, use_moe=False, ffn_activation="swiglo"))
    assert "'geglu', 'reglu', 'swiglu'" in message


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("standard", "standard_attn"),
        ("sigmoid", "sigmoid_attn"),
        ("latent", "latent_attn"),
        ("gated_softmax", "gated_softmax_attn"),
        ("ode_attn", "ode"),
    ],
)
def test_short_names_of_blocks(name, own):
    assert attrs.evolve(UltraConfig(), layer_pattern=(name,)).canonical().layer_pattern == (own,)
