"""HGRN2: lower bounds, tied keys."""

import pytest
import torch

from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_blocks.mixers.hgrn2 import HGRN2
from ultra_blocks.reference import hgrn2 as reference


def gates(block, raw=None):
    if raw is not None:
        with torch.no_grad():
            block.forget_proj.weight.copy_(raw * torch.eye(16).repeat(block.directions, 1))
    return block.gates(torch.ones(1, 1, 16, dtype=block.out_proj.weight.dtype))[0]


def test_encoder_gives_the_bounds_of_the_paper_at_the_start():
    config = UltraConfig(
        vocab_size=9, hidden_size=16, num_heads=2, num_layers=4, layer_pattern=["hgrn2"], use_moe=False
    )
    layers = Encoder(config).layers
    wanted = reference.lower_bounds(torch.zeros(4, 16))
    assert layers[0].mixer.bound is None
    for layer, bound in zip(layers[1:], wanted[1:], strict=True):
        assert torch.allclose(layer.mixer.bound.sigmoid(), bound)


def test_a_pattern_may_set_the_bound():
    config = UltraConfig(
        vocab_size=9,
        hidden_size=16,
        num_heads=2,
        num_layers=2,
        layer_pattern=[{"hgrn2": {"lower_bound": 0.9}}],
        use_moe=False,
    )
    assert [layer.mixer.lower_bound for layer in Encoder(config).layers] == [0.9, 0.9]


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("raw", [-60.0, -1.0, 0.0, 1.0, 60.0])
def test_keys_are_what_decays_leave_free(bound, raw):
    """SPEC 1.11 a10: ancestors did not tie them. Neither end loses its digits."""
    torch.manual_seed(0)
    log_f, key = gates(HGRN2(16, num_heads=2, lower_bound=bound).double(), raw)
    raws = torch.full((1, 1, 2, 8), raw, dtype=torch.float64)
    f, rest = reference.forget(raws, torch.tensor(bound, dtype=torch.float64))
    assert torch.allclose(log_f.exp(), f, atol=1e-15, rtol=1e-6)
    assert torch.allclose(key, rest, atol=1e-15, rtol=1e-6)
    assert torch.allclose(key, (1 - bound) * (-raws).sigmoid(), rtol=1e-6)  # also where 1 - f rounds to 0


def test_bounds_are_learnt_and_kept_in_full_precision():
    torch.manual_seed(0)
    block = HGRN2(16, num_heads=2, lower_bound=0.25)
    block(torch.randn(1, 9, 16)).sum().backward()
    assert block.bound.grad.any()
    before = block.bound.detach().clone()
    assert torch.equal(block.bfloat16().bound, before)
    assert block.bound.dtype == torch.float32
    assert block.parameter_info()["bound"].kind == "gate"
    assert HGRN2(16, num_heads=2).bfloat16().bound is None


def test_forget_gates_stack_by_direction():
    info = HGRN2(16, num_heads=2).parameter_info()
    assert info["forget_proj.weight"].row_blocks == (16, 16)
    assert info["in_proj.weight"].row_blocks == (16, 16, 16)
    assert HGRN2(16, num_heads=2, causal=True).forget_proj.weight.shape == (16, 16)
