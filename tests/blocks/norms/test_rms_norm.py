import torch

from ultra_blocks.norms.rms_norm import RMSNorm


def test_equals_the_formula(x, randomise):
    norm = randomise(RMSNorm(16).double())
    expected = norm.weight * x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-12)


def test_scale_of_the_input_is_removed(x):
    norm = RMSNorm(16, eps=1e-12).double()
    torch.testing.assert_close(norm(37.0 * x), norm(x), rtol=0, atol=1e-10)


def test_half_inputs_keep_their_dtype_and_fp32_statistics():
    norm = RMSNorm(512)
    x = torch.randn(4, 512).bfloat16()
    assert norm(x).dtype is torch.bfloat16
    torch.testing.assert_close(norm(x).float(), norm(x.float()), rtol=0, atol=2e-2)
