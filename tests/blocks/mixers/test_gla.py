"""GLA: what its own options do, and the ancestors' mistake."""

import pytest
import torch

from ultra_blocks.mixers.gla import GLA


def log_decays(block):
    return block.gates(torch.randn(1, 50, 16))[0][0]


@pytest.mark.parametrize("temperature", [1.0, 16.0])
def test_temperature_sets_how_fast_memory_fades_at_the_start(temperature):
    torch.manual_seed(0)
    logs = log_decays(GLA(16, num_heads=2, gate_temperature=temperature))
    assert logs.mean().item() == pytest.approx(-0.693 / temperature, rel=0.05)
    assert (logs < 0).all()


def test_decays_are_of_keys_not_of_values():
    """SPEC 1.11 a10: with the gate on the value axis, a channel of v would fade alone."""
    torch.manual_seed(0)
    block = GLA(16, num_heads=2, causal=True, key_expansion=0.25, value_expansion=2.0)
    state = block.init_state(1)
    ones = state._replace(memory=torch.ones_like(state.memory))
    assert state.memory.shape == (1, 2, 2, 16)
    _, after = block.step(torch.zeros(1, 16), ones)
    (decay,) = block.gates(torch.zeros(1, 16))[0]
    assert torch.allclose(after.memory, decay.exp()[..., None].expand(-1, -1, -1, 16))


def test_rank_and_widths():
    block = GLA(64, num_heads=4, gate_rank=5, key_expansion=1.0, value_expansion=0.5)
    assert block.in_heights == (64, 64, 32, 32)
    assert block.decay_down.weight.shape == (10, 64)
    assert [up.weight.shape for up in block.decay_up] == [(64, 5), (64, 5)]
    assert block.parameter_info()["decay_down.weight"].row_blocks == (5, 5)


def test_closed_gates_have_gradients():
    """A logit of -1e4 forgets all; logsigmoid still says which way is out."""
    torch.manual_seed(0)
    block = GLA(16, num_heads=2)
    with torch.no_grad():
        for up in block.decay_up:
            up.bias.fill_(-1e4)
    block(torch.randn(1, 9, 16)).sum().backward()
    assert all(p.grad.isfinite().all() for p in block.parameters())
