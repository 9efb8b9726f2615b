import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.ffn.glu import GLU
from ultra_blocks.linear import BitLinear


@pytest.mark.parametrize(("activation", "function"), [("silu", F.silu), ("gelu", F.gelu), ("relu", F.relu)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_formula(activation, function, bias):
    torch.manual_seed(0)
    ffn = GLU(6, 10, activation=activation, bias=bias).double()
    ffn.reset_parameters(std=0.5)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    inner = x @ ffn.gate_up.weight.T + (ffn.gate_up.bias if bias else 0)
    gated = function(inner[..., :10]) * inner[..., 10:]
    expected = gated @ ffn.down.weight.T + (ffn.down.bias if bias else 0)
    torch.testing.assert_close(ffn(x), expected, rtol=0, atol=1e-12)


def test_parameters_and_where_the_fused_matrices_begin():
    ffn = GLU(6, 10, linear=BitLinear)
    assert sum(p.numel() for p in ffn.parameters()) == 3 * 6 * 10
    assert ffn.parameter_info()["gate_up.weight"].row_blocks == (10, 10)
    assert ffn.parameter_info()["down.weight"].row_blocks == ()
    assert ffn.gate_up.row_blocks == (10, 10)
