"""``by_document`` hands a function every document in a row of its own."""

import pytest
import torch
from torch import Tensor

from ultra_blocks.documents import by_document
from ultra_blocks.layout import Layout


def running_sum(x: Tensor, mask: Tensor) -> Tensor:
    """A sum from the left, to which the number of real tokens of the row is added."""
    assert (x[~mask] == 0).all()
    assert mask.any(1).all()
    return x.cumsum(1) + mask.sum(1)[:, None, None]


def test_padding_and_other_documents_are_out_of_sight():
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    documents = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    x = torch.tensor([[9.0, 1, 2, 9, 3], [1, 2, 3, 9, 9], [9, 9, 9, 9, 9]])[..., None]
    x[0, 0] = torch.nan
    y = by_document(running_sum, x, Layout.from_mask(mask, documents))
    assert y[..., 0].tolist() == [[0, 3, 5, 0, 4], [4, 6, 9, 0, 0], [0, 0, 0, 0, 0]]


def test_gradients_reach_real_tokens_only():
    x = torch.full((1, 3, 1), torch.nan)
    x[0, 1] = 2.0
    x.requires_grad_()
    by_document(running_sum, x, Layout.from_mask(torch.tensor([[0, 1, 0]]))).sum().backward()
    assert x.grad.flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize("layout", [None, Layout.full(2, 3)])
def test_a_full_batch_is_handed_over_as_it_is(layout):
    x = torch.ones(2, 3, 1)
    assert by_document(lambda rows, mask: rows if rows is x and mask.all() else None, x, layout) is x


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_a_batch_without_a_real_token_never_reaches_the_function(shape):
    layout = Layout.from_mask(torch.zeros(shape, dtype=torch.bool))
    y = by_document(lambda rows, mask: pytest.fail("called"), torch.ones(*shape, 4), layout)
    assert y.shape == (*shape, 4)
    assert not y.any()


def test_a_layout_of_another_batch_is_refused():
    with pytest.raises(ValueError, match="build the layout from the mask of this batch"):
        by_document(running_sum, torch.ones(2, 3, 1), Layout.full(2, 4))
