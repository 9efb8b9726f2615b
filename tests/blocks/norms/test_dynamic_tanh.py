import math

import pytest
import torch

from ultra_blocks.norms.base import PLACES
from ultra_blocks.norms.dynamic_tanh import DynamicTanh


def test_equals_the_formula(x, randomise):
    norm = randomise(DynamicTanh(16).double())
    expected = norm.weight * torch.tanh(norm.alpha * x) + norm.bias
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-14)


def test_alpha_is_one_scalar_and_there_is_a_gain():
    # regression b1: the ancestor had one slope a channel, no gain, and normalised before the tanh
    shapes = {name: tuple(p.shape) for name, p in DynamicTanh(16).named_parameters()}
    assert shapes == {"weight": (16,), "bias": (16,), "alpha": (1,)}


def test_output_depends_on_the_scale_of_the_input(x):
    # regression b1: tanh after a layer norm is blind to the scale
    norm = DynamicTanh(16).double()
    assert (norm(0.1 * x) - norm(x)).abs().max() > 0.1
    torch.testing.assert_close(norm(1e-4 * x), 0.5e-4 * x, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("place", "expected"),
    [("mixer", 0.5), ("ffn", 0.5), ("final", 0.5), ("head", 0.5), ("embedding", 0.5 * math.sqrt(16))],
)
def test_alpha_starts_where_the_place_says(place, expected):
    assert DynamicTanh(16, place=place).alpha.item() == pytest.approx(expected)
    assert DynamicTanh(16, place=place, alpha_init=0.2).alpha.item() == pytest.approx(0.2)


def test_alpha_of_some_places():
    slopes = {"mixer": 0.8, "ffn": 0.2, "final": 0.3}
    found = {place: DynamicTanh(16, place=place, alpha_init=slopes).alpha.item() for place in PLACES}
    assert found == pytest.approx({**slopes, "embedding": 2.0, "head": 0.5})


@pytest.mark.parametrize("wrong", [{"attention": 0.8}, {"mixer": 0.0}, {"mixer": None}, [0.8, 0.2]])
def test_what_is_no_alpha_of_a_place(wrong):
    with pytest.raises(ValueError, match=r"alpha_init .* keys among 'mixer', 'ffn'.*a number > 0"):
        DynamicTanh(16, alpha_init=wrong)


def test_bounded_and_odd(x, randomise):
    norm = randomise(DynamicTanh(16).double())
    assert ((norm(x) - norm.bias).abs() <= norm.weight.abs()).all()
    torch.testing.assert_close(norm(x) - norm.bias, norm.bias - norm(-x), rtol=0, atol=1e-14)


def test_half_inputs_go_through_an_fp32_tanh():
    norm = DynamicTanh(16)
    x = torch.randn(8, 16).bfloat16()
    assert norm(x).dtype is torch.bfloat16
    torch.testing.assert_close(norm(x), norm(x.float()).bfloat16(), rtol=0, atol=0)
