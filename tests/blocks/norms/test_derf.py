import math

import pytest
import torch

from ultra_blocks.norms.base import PLACES
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


def test_alpha_of_some_places():
    slopes = {"mixer": 0.8, "ffn": 0.2, "final": 0.3}
    found = {place: Derf(16, place=place, alpha_init=slopes).alpha.item() for place in PLACES}
    assert found == pytest.approx({**slopes, "embedding": 2.0, "head": 0.5})


@pytest.mark.parametrize("wrong", [{"attention": 0.8}, {"mixer": 0.0}, {"mixer": None}, [0.8, 0.2]])
def test_what_is_no_alpha_of_a_place(wrong):
    with pytest.raises(ValueError, match=r"alpha_init .* keys among 'mixer', 'ffn'.*a number > 0"):
        Derf(16, alpha_init=wrong)


def test_bounded_and_odd_without_a_shift(x):
    norm = Derf(16).double()
    assert (norm(x).abs() <= 1).all()
    torch.testing.assert_close(norm(x), -norm(-x), rtol=0, atol=1e-14)


def test_half_inputs_go_through_an_fp32_erf():
    norm = Derf(16)
    x = torch.randn(8, 16).bfloat16()
    assert norm(x).dtype is torch.bfloat16
    torch.testing.assert_close(norm(x), norm(x.float()).bfloat16(), rtol=0, atol=0)
