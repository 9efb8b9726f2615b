import math

import pytest
import torch

from ultra_blocks.norms.derf import Derf


def test_equals_the_formula(x, randomise):
    norm = randomise(Derf(16).double())
    expected = norm.weight * torch.erf(norm.alpha * x + norm.shift) + norm.bias
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-14)


def test_starts_as_published():
    # regression b2: the ancestor started alpha at 1
    norm = Derf(16)
    assert norm.alpha.item() == 0.5
    assert norm.shift.item() == 0.0
    assert torch.equal(norm.weight, torch.ones(16))
    assert torch.equal(norm.bias, torch.zeros(16))
    assert Derf(16, place="embedding").alpha.item() == pytest.approx(0.5 * math.sqrt(16))
    assert Derf(16, shift_init=0.25).shift.item() == 0.25


def test_bounded_and_odd_without_a_shift(x):
    norm = Derf(16).double()
    assert (norm(x).abs() <= 1).all()
    torch.testing.assert_close(norm(x), -norm(-x), rtol=0, atol=1e-14)


def test_half_inputs_go_through_an_fp32_erf():
    norm = Derf(16)
    x = torch.randn(8, 16).bfloat16()
    assert norm(x).dtype is torch.bfloat16
    torch.testing.assert_close(norm(x), norm(x.float()).bfloat16(), rtol=0, atol=0)
