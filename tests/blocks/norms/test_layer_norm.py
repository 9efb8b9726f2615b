import pytest
import torch

from ultra_blocks.norms.layer_norm import LayerNorm


@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_formula(x, randomise, bias):
    norm = randomise(LayerNorm(16, bias=bias).double())
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    expected = norm.weight * (x - mean) / torch.sqrt(variance + 1e-5)
    if bias:
        expected = expected + norm.bias
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-12)


def test_equals_torch(x, randomise):
    ours, theirs = randomise(LayerNorm(16).double()), torch.nn.LayerNorm(16).double()
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(x))


def test_scale_of_the_input_is_removed(x):
    norm = LayerNorm(16, eps=1e-12).double()
    torch.testing.assert_close(norm(37.0 * x), norm(x), rtol=0, atol=1e-10)


def test_statistics_of_half_inputs_are_fp32():
    norm = LayerNorm(64)
    x = (torch.randn(4, 64) + 200).bfloat16()  # in bfloat16 the variance around 200 would be lost
    error = norm(x).float() - norm(x.float())
    assert norm(x).dtype is torch.bfloat16
    assert error.abs().max() < 2e-2
