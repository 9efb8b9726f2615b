import pytest
import torch
import torch.nn.functional as F

from ultra_blocks.testing.masks import Masks


@pytest.mark.parametrize(
    "drop",
    [
        lambda x: F.dropout(x, 0.3),
        lambda x: x * (torch.rand_like(x) >= 0.3) / 0.7,
        lambda x: x * torch.bernoulli(torch.full_like(x, 0.7)) / 0.7,
    ],
    ids=["dropout", "comparison", "bernoulli"],
)
def test_the_ones_of_a_mask_are_counted(drop):
    with Masks() as masks:
        drop(torch.ones(10_000))
    ((fraction, size),) = masks.fractions
    assert size == 10_000
    assert fraction == pytest.approx(0.7, abs=0.03)


def test_dropout_changes_nothing_where_masks_have_their_mean():
    x = torch.randn(50)
    with Masks(mean=True):
        torch.testing.assert_close(F.dropout(x, 0.3), x)
        torch.testing.assert_close(x * torch.bernoulli(torch.full_like(x, 0.7)), 0.7 * x)


def test_other_random_numbers_are_not_masks():
    with Masks() as masks:
        torch.rand(9).add(1)
        torch.randn(9).gt(0)
    assert masks.fractions == []
