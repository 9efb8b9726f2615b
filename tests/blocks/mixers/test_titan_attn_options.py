"""Options, parameters and first weights of titan_attn."""

from typing import Any

import pytest
import torch
from torch import nn

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.linear import BitLinear
from ultra_blocks.mixers.titan_attn import TitanAttention
from ultra_blocks.positions.hope import HoPE
from ultra_core.plugins.signatures import check_options, read_options

WIDTH, HEADS = 8, 2


@pytest.mark.parametrize("variant", ["mag", "mal", "mac"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"hope_base": 100.0}, {"hope_base": 10_000.0}),
        ({"hope_damping": 0.0}, {"hope_damping": 0.5}),
        ({"use_hope": True}, {"use_hope": False}),
    ],
)
def test_the_fields_of_hope_act_in_a_model(variant: str, one: Any, other: Any) -> None:
    sizes: Any = {"vocab_size": 9, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "use_moe": False}
    pattern = [{"titan_attn": {"variant": variant}}]
    outputs = []
    for fields in (one, other):
        torch.manual_seed(0)
        encoder = Encoder(UltraConfig(**sizes, layer_pattern=pattern, initializer_range=0.5, **fields)).eval()
        outputs.append(encoder(torch.arange(9)[None]).hidden)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_first_weights() -> None:
    block = TitanAttention(64, num_heads=4, positions=HoPE)
    block.reset_parameters(std=0.01)
    biases = block.memory.gate_proj.bias.view(2, 3, 4)
    assert torch.equal(biases, torch.tensor([-3.0, 2.0, -4.0])[:, None].expand(2, 3, 4))
    assert block.memory.gate_proj.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert block.memory.qkv_proj.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert block.persistent.std().item() == pytest.approx(1.0, rel=0.2)
    deep = TitanAttention(64, num_heads=4, positions=HoPE, memory_depth=2)
    deep.reset_parameters(std=0.01)
    assert deep.memory.first.std().item() == pytest.approx(1.0, rel=0.1)
    assert deep.memory.second.std().item() == pytest.approx(0.25, rel=0.1)


def test_parameters() -> None:
    block = TitanAttention(32, num_heads=4, positions=HoPE)
    info = block.parameter_info()
    assert {i.role for i in info.values()} == {"attention"}
    assert info["qkv_proj.weight"].row_blocks == info["memory.qkv_proj.weight"].row_blocks == (32, 32, 32)
    assert {n for n, i in info.items() if i.kind == "gate"} == {
        "memory.gate_proj.weight",
        "memory.gate_proj.bias",
    }
    assert not info["persistent"].decay
    count = (3 + 1 + 3) * 32**2 + 2 * 3 * 4 * 33 + 4 * 32 + 2 * 8
    assert sum(p.numel() for p in block.parameters()) == count
    assert not list(block.buffers())
    causal = TitanAttention(32, num_heads=4, positions=HoPE, causal=True, persistent_tokens=0)
    assert sum(p.numel() for p in causal.parameters()) == count - 3 * 4 * 33 - 4 * 32
    layer = TitanAttention(32, num_heads=4, positions=HoPE, variant="mal")
    assert sum(p.numel() for p in layer.parameters()) == count - 8
    context = TitanAttention(32, num_heads=4, positions=HoPE, variant="mac")
    assert sum(p.numel() for p in context.parameters()) == count + 8 + 32**2
    deep = TitanAttention(32, num_heads=4, positions=HoPE, memory_depth=2)
    assert sum(p.numel() for p in deep.parameters()) == count + 4 * 2 * 8 * 16
    starts = [deep.parameter_info()[f"memory.{name}"] for name in ("first", "second")]
    assert {(i.kind, i.expert_dim, i.role) for i in starts} == {("expert", 0, "attention")}


def test_gates_keep_full_precision_beside_ternary_projections() -> None:
    block = TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, linear=BitLinear)
    assert isinstance(block.memory.qkv_proj, BitLinear)
    assert block.memory.qkv_proj.row_blocks == (WIDTH,) * 3
    assert type(block.memory.gate_proj) is nn.Linear


def test_options() -> None:
    options = read_options(TitanAttention)
    assert {n: o.from_model for n, o in options.items() if o.from_model} == {
        "num_heads": "num_heads",
        "positions": "positions",
        "dropout": "dropout",
        "linear": "linear",
    }
    faults = check_options(
        "titan_attn", TitanAttention, {"memory_chunk": 0, "variant": "max", "memory_depth": 3}
    )
    assert set(faults) == {"memory_chunk", "variant", "memory_depth"}
    with pytest.raises(ValueError, match="memory_chunk must be 1 or more"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, memory_chunk=0)
    with pytest.raises(ValueError, match=r"variant must be one of mag, mac, mal.*given 'max'"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, variant="max")
    with pytest.raises(ValueError, match="mag without a memory; given 'mal' with memory=False"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, variant="mal", memory=False)
    with pytest.raises(ValueError, match=r"memory_depth must be 1 or 2.*given 3 with memory=True"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, memory_depth=3)
    with pytest.raises(ValueError, match="and 1 without a memory; given 2"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, memory_depth=2, memory=False)
    with pytest.raises(ValueError, match="window=4 has no meaning for the variant mac"):
        TitanAttention(WIDTH, num_heads=HEADS, positions=HoPE, variant="mac", window=4)
    with pytest.raises(ValueError, match="does not divide"):
        TitanAttention(10, num_heads=4, positions=HoPE)
