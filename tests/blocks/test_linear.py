import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ultra_blocks.ffn.experts import ExpertLinear
from ultra_blocks.hf import UltraForMaskedLM, UltraHFConfig
from ultra_blocks.linear import BitLinear, fused_linear, linear_factory
from ultra_core import blocks
from ultra_optim.roles.groups import describe


def plain(x, weight, bias, row_blocks, eps=1e-6):
    """The formula of the paper, one logical matrix after the other, with dequantised factors."""
    normed = x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps)
    s_x = normed.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    x_q = (127 * normed / s_x).round().clamp(-128, 127) * s_x / 127
    outputs = []
    for block in weight.split(row_blocks):
        s_w = block.abs().mean().clamp(min=1e-5)
        outputs.append(x_q @ ((block / s_w).round().clamp(-1, 1) * s_w).T)
    return torch.cat(outputs, -1) + bias


def test_equals_the_formula_for_every_logical_matrix():
    torch.manual_seed(0)
    layer = BitLinear(12, 10, row_blocks=(4, 6)).double()
    with torch.no_grad():
        layer.weight[4:] *= 50  # one common scale would round the first block to zero
    x = torch.randn(3, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x, layer.weight, layer.bias, (4, 6)), rtol=0, atol=1e-12)


def test_agrees_with_transformers(monkeypatch):
    bitnet = pytest.importorskip("transformers.integrations.bitnet")
    theirs = bitnet.AutoBitLinear(32, 24, bias=True, online_quant=True, use_rms_norm=True)
    ours = BitLinear(32, 24)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    torch.manual_seed(1)
    x = torch.randn(64, 32)
    # away from ties both round alike: drop tokens and weights within rounding error of one half
    normed = F.rms_norm(x, (32,), None, 1e-6)
    scaled = 127 * normed / normed.abs().amax(-1, keepdim=True)
    clear = ((scaled - scaled.floor() - 0.5).abs() > 1e-3).all(-1)
    ratio = ours.weight / ours.weight.abs().mean()
    assert ((ratio - ratio.floor() - 0.5).abs() > 1e-5).all()
    assert clear.sum() > 30
    # the functions themselves: torch.compile in front of them needs a C++ compiler
    monkeypatch.setattr(bitnet.WeightQuant, "forward", _undecorated(bitnet.WeightQuant.forward))
    monkeypatch.setattr(bitnet.ActQuant, "forward", _undecorated(bitnet.ActQuant.forward))
    a, b = (x[clear].clone().requires_grad_() for _ in range(2))
    y_ours, y_theirs = ours(a), theirs(b)
    torch.testing.assert_close(y_ours, y_theirs, rtol=0, atol=2e-6)
    weights = torch.randn_like(y_ours)
    y_ours.backward(weights)
    y_theirs.backward(weights)
    torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=0, atol=1e-4)


def _undecorated(compiled):
    return staticmethod(getattr(compiled, "_torchdynamo_orig_callable", compiled))


def test_weights_are_ternary_and_scale_of_the_input_is_removed():
    layer = BitLinear(16, 8, bias=False, eps=1e-12).double()
    weight, scale = layer.quantised_weight()
    assert set(weight.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert scale.unique().numel() == 1
    x = torch.randn(5, 16, dtype=torch.float64)
    torch.testing.assert_close(layer(1000 * x), layer(x), rtol=0, atol=1e-9)


def test_a_token_does_not_depend_on_its_neighbours():
    # regression a4: the ancestor normalised over the sequence too
    layer = BitLinear(16, 8)
    x = torch.randn(2, 6, 16)
    changed = x.clone()
    changed[:, -1] = 100 * torch.randn(2, 16)
    assert torch.equal(layer(changed)[:, :-1], layer(x)[:, :-1])


def test_zeros_give_the_bias_and_no_nan():
    layer = BitLinear(16, 8, bias=False)
    x = torch.zeros(2, 16, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 8))
    assert torch.isfinite(x.grad).all()


def test_autocast_computes_with_exact_whole_numbers():
    torch.manual_seed(0)
    layer = BitLinear(64, 32, bias=False)
    x = torch.randn(8, 64)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=1e-2, atol=1e-2)


def test_factory_and_fused_projection():
    assert linear_factory(False) is nn.Linear
    assert linear_factory(True) is BitLinear
    assert fused_linear(BitLinear, 8, (4, 2, 2)).row_blocks == (4, 2, 2)
    assert isinstance(fused_linear(nn.Linear, 8, (4, 2, 2)), nn.Linear)
    with pytest.raises(ValueError, match="add up to 6, not to out_features 8"):
        BitLinear(4, 8, row_blocks=(2, 4))


@pytest.mark.parametrize("name", blocks.names())
def test_use_bitnet_is_for_projections_of_blocks_and_ffns_alone(name):
    """Never embeddings, heads, routers, norms, gates, convolutions; and every block has some that are."""
    model = UltraForMaskedLM(
        UltraHFConfig(
            vocab_size=20, hidden_size=16, num_layers=1, num_heads=2, retention_heads=2, ffn_hidden_size=8,
            use_bitnet=True, use_factorized_embedding=True, factorized_embedding_dim=4, use_moe=True,
            use_embedding_conv=True, layer_pattern=[name],
        )
    )  # fmt: skip
    infos = describe(model)
    ternary = {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, BitLinear) or (isinstance(module, ExpertLinear) and module.eps is not None)
    }
    inside = {key for key in infos if key.startswith("model.encoder.layers.0.")}
    assert ternary <= inside, "outside the layers"
    assert {infos[key].kind for key in ternary} == {"matrix", "expert"}
    assert not {infos[key].role for key in ternary} & {"embeddings", "norms"}
    assert any(".mixer." in key and key.endswith("out_proj.weight") for key in ternary)
    assert {f"model.encoder.layers.0.ffn.experts.{side}.weight" for side in ("up", "down")} <= ternary
