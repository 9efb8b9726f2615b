import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.activations import Activation, canonical_activation
from ultra_blocks.ffn.base import keeps_zero
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout

FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
}


@pytest.mark.parametrize("activation", list(FORMULAS))
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_formula(activation, bias):
    torch.manual_seed(0)
    ffn = MLP(6, 10, activation=activation, bias=bias).double()
    ffn.reset_parameters(std=0.5)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    inner = x @ ffn.up.weight.T + (ffn.up.bias if bias else 0)
    expected = FORMULAS[activation](inner) @ ffn.down.weight.T + (ffn.down.bias if bias else 0)
    torch.testing.assert_close(ffn(x), expected, rtol=0, atol=1e-12)


def test_parameter_count():
    assert sum(p.numel() for p in MLP(6, 10).parameters()) == 2 * 6 * 10
    assert sum(p.numel() for p in MLP(6, 10, bias=True).parameters()) == 2 * 6 * 10 + 6 + 10


def test_dropout_acts_in_training_only():
    ffn = MLP(8, 64, dropout=0.5)
    x = torch.randn(4, 8)
    assert not torch.equal(ffn(x), ffn(x))
    ffn.eval()
    assert torch.equal(ffn(x), ffn(x))


@pytest.mark.parametrize("activation", sorted(set(get_args(Activation)) - FORMULAS.keys()))
def test_any_activation_that_torch_names(activation):
    torch.manual_seed(0)
    ffn = MLP(6, 10, activation=activation).double()
    ffn.reset_parameters(std=0.5)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    expected = getattr(torch.nn.functional, activation)(x @ ffn.up.weight.T) @ ffn.down.weight.T
    torch.testing.assert_close(ffn(x), expected, rtol=0, atol=1e-12)
    assert keeps_zero(activation) == (getattr(F, activation)(torch.zeros(1)) == 0).item()


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "mish"])
def test_padding_is_zero_whatever_the_activation_makes_of_zero(activation):
    mask = torch.tensor([[True, True, False]])
    y = MLP(6, 10, activation=activation)(torch.randn(1, 3, 6), Layout.from_mask(mask))
    assert y[0, :2].abs().min() > 0
    assert torch.equal(y[0, 2], torch.zeros(6))


def test_names_of_activations_in_other_spellings():
    assert canonical_activation("SiLU") == canonical_activation("swish") == "silu"
    assert canonical_activation("gelu_pytorch_tanh") == "gelu_tanh"
    assert canonical_activation("Mish") == "mish"
    assert canonical_activation("sine") == "sine"
