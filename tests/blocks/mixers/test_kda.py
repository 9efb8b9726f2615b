"""KDA against the layer of transformers' Kimi Linear."""

import pytest
import torch

from ultra_blocks.mixers.kda import KDA

WIDTH, HEADS = 16, 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_agrees_with_the_layer_of_transformers():
    """Causal, whole layer, forward and the gradient of its input; their output gate is a product of two."""
    from transformers.models.kimi_linear.modeling_kimi_linear import (
        KimiLinearConfig,
        KimiLinearDeltaAttention,
    )

    config = KimiLinearConfig(
        hidden_size=WIDTH,
        linear_num_heads=HEADS,
        linear_head_dim=WIDTH // HEADS,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    torch.manual_seed(0)
    theirs = KimiLinearDeltaAttention(config, 0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    ours = KDA(WIDTH, num_heads=HEADS, causal=True, eps=config.rms_norm_eps)
    gate, forget = theirs.g_b_proj.weight @ theirs.g_a_proj.weight, theirs.forget_gate
    pairs = {
        "in_proj.weight": torch.cat((theirs.q_proj.weight, theirs.k_proj.weight, theirs.v_proj.weight, gate)),
        "conv1d.weight": theirs.conv1d.weight,
        "beta_proj.weight": theirs.b_proj.weight,
        "decay_down.weight": forget.f_a_proj.weight,
        "decay_up.weight": forget.f_b_proj.weight,
        "A_log": forget.A_log.flatten(),
        "dt_bias": forget.dt_bias,
        "norm.weight": theirs.o_norm.weight,
        "out_proj.weight": theirs.o_proj.weight,
    }
    assert set(pairs) == set(ours.state_dict())
    ours.load_state_dict(pairs)
    x = torch.randn(2, 75, WIDTH, requires_grad=True)
    weights = torch.randn(x.shape)
    results = [(y, *torch.autograd.grad((y * weights).sum(), x)) for y in (ours(x), theirs(x))]
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


@pytest.mark.parametrize("rank", [None, 3])
def test_rank_of_the_decays(rank):
    assert KDA(WIDTH, num_heads=HEADS, decay_rank=rank).decay_up.in_features == (rank or 8)
