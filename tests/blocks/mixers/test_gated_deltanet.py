"""Gated DeltaNet against the layer of transformers' Qwen3-Next."""

import pytest
import torch

from ultra_blocks.mixers.gated_deltanet import GatedDeltaNet

WIDTH, HEADS, KEYS, VALUES = 16, 2, 8, 16


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loads_weights_of_transformers():
    """Causal, whole layer, forward and the gradient of its input; only the order of fused rows differs."""
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextConfig, Qwen3NextGatedDeltaNet

    config = Qwen3NextConfig(
        hidden_size=WIDTH,
        linear_num_key_heads=HEADS,
        linear_num_value_heads=HEADS,
        linear_key_head_dim=KEYS,
        linear_value_head_dim=VALUES,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    torch.manual_seed(0)
    theirs = Qwen3NextGatedDeltaNet(config, 0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    ours = GatedDeltaNet(WIDTH, num_heads=HEADS, causal=True, eps=config.rms_norm_eps)
    # theirs: for each head q, k, v, gate, and beta, decay; ours: all heads of q, then of k, ..
    by_head = theirs.in_proj_qkvz.weight.unflatten(0, (HEADS, -1))
    parts = by_head.split((KEYS, KEYS, VALUES, VALUES), 1)
    beta, decay = theirs.in_proj_ba.weight.unflatten(0, (HEADS, 2)).unbind(1)
    with torch.no_grad():
        ours.in_proj.weight.copy_(torch.cat([part.flatten(0, 1) for part in parts]))
        ours.beta_proj.weight.copy_(beta)
        ours.decay_proj.weight.copy_(decay)
        for name in ("A_log", "dt_bias", "conv1d.weight", "norm.weight", "out_proj.weight"):
            ours.get_parameter(name).copy_(theirs.get_parameter(name))
    x = torch.randn(2, 75, WIDTH, requires_grad=True)
    weights = torch.randn(x.shape)
    results = [(y, *torch.autograd.grad((y * weights).sum(), x)) for y in (ours(x), theirs(x))]
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


def test_a_model_that_goes_to_half_precision_by_way_of_fp64_keeps_fp32_decays() -> None:
    block = GatedDeltaNet(16, num_heads=2).double().bfloat16()
    assert block.A_log.dtype == block.dt_bias.dtype == torch.float32
    assert block(torch.randn(1, 5, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16
