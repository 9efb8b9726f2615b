"""What holds for every dense FFN."""

import pytest
import torch

from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout
from ultra_blocks.linear import BitLinear

MASK = torch.tensor([[True, True, True, False], [False, True, False, False], [False] * 4])


@pytest.fixture(params=[MLP, GLU])
def cls(request):
    return request.param


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e4])
def test_padding_is_exactly_zero_and_reaches_nothing(cls, bias, rubbish):
    torch.manual_seed(0)
    ffn = cls(8, 16, bias=bias).double()
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    with_padding = torch.where(MASK[..., None], x, rubbish).requires_grad_()
    y = ffn(with_padding, Layout.from_mask(MASK))
    y.square().sum().backward()
    assert torch.equal(y[~MASK], torch.zeros_like(y[~MASK]))
    torch.testing.assert_close(y[MASK], ffn(x[MASK]), rtol=0, atol=1e-14)
    assert torch.equal(with_padding.grad[~MASK], torch.zeros_like(y[~MASK]))
    assert all(torch.isfinite(p.grad).all() for p in ffn.parameters())


def test_every_parameter_is_described_and_gets_a_gradient(cls):
    ffn = cls(8, 16, bias=True)
    info = ffn.parameter_info()
    ffn(torch.randn(2, 3, 8)).square().sum().backward()
    for name, parameter in ffn.named_parameters():
        assert info[name].decay == (parameter.ndim == 2)
        assert info[name].role == "other"
        assert parameter.grad.abs().sum() > 0


def test_projections_come_from_the_factory(cls):
    ffn = cls(8, 16, linear=BitLinear)
    assert all(isinstance(child, BitLinear) for child in ffn.children() if list(child.parameters()))
    assert torch.isfinite(ffn(torch.randn(2, 3, 8))).all()


def test_first_weights(cls):
    torch.manual_seed(0)
    ffn = cls(64, 256)
    ffn.reset_parameters(std=0.05, residual_scale=0.1)
    others = [p for name, p in ffn.named_parameters() if name != "down.weight"]
    assert ffn.down.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert all(p.std().item() == pytest.approx(0.05, rel=0.05) for p in others)


def test_gradients_are_right(cls):
    ffn = cls(4, 6, bias=True, activation="silu").double()
    ffn.reset_parameters(std=0.7)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: ffn(x), (x, *ffn.parameters()), atol=1e-6, rtol=1e-4)


def test_bf16_autocast(cls):
    ffn = cls(8, 16)
    x = torch.randn(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = ffn(x)
    assert (y.float() - ffn(x)).norm() < 5e-2 * ffn(x).norm()


def test_wrong_arguments_are_errors(cls):
    with pytest.raises(ValueError, match="activation must be one of"):
        cls(8, 16, activation="gelo")
    with pytest.raises(ValueError, match="widths must be 1 or more"):
        cls(8, 0)
    with pytest.raises(ValueError, match="dropout must be at least 0"):
        cls(8, 16, dropout=1.0)
