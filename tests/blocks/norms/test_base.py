"""What holds for every registered norm."""

import pytest
import torch

from ultra_blocks.norms.base import PLACES
from ultra_core import norms
from ultra_core.plugins.signatures import read_options


@pytest.fixture(params=norms.names())
def cls(request):
    return norms.get(request.param)


def test_every_row_of_the_last_dimension_is_its_own(cls, x):
    norm = cls(16).double()
    changed = x.clone()
    changed[:, -1] = 77.0
    assert torch.equal(norm(changed)[:, :-1], norm(x)[:, :-1])


def test_gradients_are_right(cls, randomise):
    norm = randomise(cls(5).double())
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    inputs = (x, *norm.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), inputs, atol=1e-6, rtol=1e-4)


def test_only_the_gain_may_decay(cls):
    norm = cls(8)
    info = norm.parameter_info()
    assert set(info) == {name for name, _ in norm.named_parameters()}
    assert {i.role for i in info.values()} == {"norms"}
    assert {i.kind for i in info.values()} == {"vector"}
    assert [name for name, i in info.items() if i.decay] == ["weight"]


def test_built_at_every_place_with_options_a_preset_can_set(cls):
    for place in PLACES:
        assert cls(8, place=place)(torch.ones(2, 8)).shape == (2, 8)
    assert all(
        option.settable for name, option in read_options(cls).items() if name not in ("hidden_size", "place")
    )


def test_a_wrong_place_or_width_is_an_error(cls):
    with pytest.raises(ValueError, match="place must be one of"):
        cls(8, place="attic")
    with pytest.raises(ValueError, match="hidden_size must be 1 or more"):
        cls(0)


def test_resetting_restores_the_start(cls, randomise):
    start, norm = cls(8), randomise(cls(8))
    norm.reset_parameters()
    for name, value in norm.state_dict().items():
        assert torch.equal(value, start.state_dict()[name])


def test_bf16_autocast(cls):
    norm = cls(8)
    x = torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(norm(x).float(), norm(x.float()).float())
        assert torch.isfinite(norm(x.bfloat16())).all()
