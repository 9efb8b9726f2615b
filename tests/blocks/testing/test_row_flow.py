"""Rows of a parameter are followed through views, products and scales, and what they go into is recorded."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ultra_blocks.testing.row_flow import RowFlow


def flow_of(function: Callable[[Tensor, Tensor], object], *shape: int) -> RowFlow:
    weight = nn.Parameter(torch.randn(*shape))
    flow = RowFlow({"weight": weight})
    with flow:
        function(torch.randn(2, 5, shape[-1]), weight)
    return flow


@pytest.mark.parametrize(
    ("function", "pieces"),
    [
        (lambda x, w: (x @ w.mT).chunk(3, -1), {(0, 4), (4, 8), (8, 12)}),
        (lambda x, w: (2 * (x @ w.mT)).split((2, 10), -1), {(0, 2), (2, 12)}),
        (lambda x, w: (x @ w.mT).unflatten(-1, (3, 4)).unbind(2), {(0, 4), (4, 8), (8, 12)}),
        (lambda x, w: nn.functional.linear(x, w)[..., :4], {(0, 4)}),
        (lambda x, w: w.chunk(2), {(0, 6), (6, 12)}),
        (lambda x, w: (x @ w.mT)[:, 2:], set()),  # tokens, not rows
        (lambda x, w: (x @ w.mT).unflatten(-1, (4, 3)).unbind(3), set()),  # every third row
        (lambda x, w: (x @ w.mT).chunk(2, -1)[0].chunk(2, -1), {(0, 6), (6, 12)}),  # parts of parts
    ],
)
def test_pieces_are_the_contiguous_rows_that_are_cut_out_of_a_product(
    function: Callable[[Tensor, Tensor], object], pieces: set[tuple[int, int]]
) -> None:
    assert flow_of(function, 12, 6).pieces["weight"] == pieces


def test_the_first_bend_and_all_later_operations_are_recorded() -> None:
    flow = flow_of(lambda x, w: (x @ w.mT / 2).sigmoid().tanh(), 4, 6)
    assert flow.bends["weight"] == {"sigmoid"}
    assert flow.later["weight"] == {"sigmoid", "tanh"}
    assert flow.direct["weight"] == {"mm"}


def test_a_parameter_that_is_multiplied_by_element_has_no_product() -> None:
    assert flow_of(lambda x, w: x * w, 5, 6).direct["weight"] == {"mul"}
