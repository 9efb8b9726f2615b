import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultra_blocks.layout import Layout
from ultra_blocks.positions.alibi import ALiBi, slopes_of
from ultra_blocks.reference import positions as reference


@given(st.integers(1, 40))
def test_slopes_are_those_of_the_authors(heads: int) -> None:
    assert slopes_of(heads) == pytest.approx(reference.alibi_slopes(heads), rel=1e-12)


def test_slopes_of_eight_heads_are_the_papers() -> None:
    assert slopes_of(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 99))
def test_equals_the_loop(length: int, heads: int, seed: int) -> None:
    mask = torch.rand(2, length, generator=torch.Generator().manual_seed(seed)) < 0.7
    layout = Layout.from_mask(mask)
    got = ALiBi(heads).bias(layout, torch.float64).expand(2, -1, -1, -1)
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand_as(got)
    torch.testing.assert_close(got[pairs], reference.alibi_bias(layout.positions, heads)[pairs])


def test_is_the_same_shifted_and_reversed() -> None:
    mask = torch.ones(1, 6, dtype=torch.bool)
    positions = torch.arange(6)[None]
    code = ALiBi(3)
    bias = code.bias(Layout.from_mask(mask), torch.float32)
    shifted = code.bias(Layout.from_mask(mask, positions=positions + 1000), torch.float32)
    assert torch.equal(bias, shifted)
    assert torch.equal(bias, bias.flip(-1, -2))
    assert code.symmetric
    assert "3" in repr(code)


def test_dtype_and_sharing() -> None:
    layout = Layout.full(4, 5)
    bias = ALiBi(2).bias(layout, torch.bfloat16)
    assert bias.shape == (1, 2, 5, 5)
    assert bias.dtype is torch.bfloat16
    assert ALiBi(2).bias(layout, torch.bfloat16) is bias


def test_refuses_no_heads() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ALiBi(0)
