"""Products that skip halves are the plain products, whatever the number of blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ultra_optim.families.triangular import blocks, gram, subtract_product_, triangular_product

SIZES = [1, 5, 130, 300, 520]


def upper(size: int) -> Tensor:
    return torch.randn(2, size, size, dtype=torch.float64).triu()


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", SIZES)
def test_blocks_cover_a_side_once(size: int) -> None:
    assert [i for block in blocks(size) for i in range(size)[block]] == list(range(size))


@pytest.mark.parametrize("size", SIZES)
def test_products_are_the_plain_ones(size: int) -> None:
    factor, matrix = upper(size), torch.randn(2, 7, size, dtype=torch.float64).mT
    close(triangular_product(factor, matrix), factor @ matrix)
    close(triangular_product(factor, matrix, transposed=True), factor.mT @ matrix)
    close(gram(matrix), matrix @ matrix.mT)


@pytest.mark.parametrize("size", SIZES)
def test_a_product_is_subtracted_in_place(size: int) -> None:
    factor, left = upper(size), upper(size)
    expected = factor - left @ factor
    subtract_product_(factor, left)
    close(factor, expected)


def test_the_empty_half_is_not_read() -> None:
    factor = upper(300)
    matrix = torch.randn(2, 300, 4, dtype=torch.float64)
    expected = factor @ matrix
    factor[:, 200:, :100] = torch.nan
    close(triangular_product(factor, matrix), expected)
