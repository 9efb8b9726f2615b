"""Several Newton-Schulz steps on X X^T alone are the steps one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ultra_optim.families import orthogonal
from ultra_optim.families.orthogonal import ALMOST_ORTHOGONAL, QUINTIC, Coefficients, orthogonalize, schedule
from ultra_optim.reference import muon as reference

SCHEDULES: dict[str, tuple[Any, int]] = {
    "quintic": (QUINTIC, 5),
    "turbo": (ALMOST_ORTHOGONAL, 4),
    "longer": (ALMOST_ORTHOGONAL, 7),
}


def plainly(matrices: Tensor, coefficients: Any, steps: int) -> Tensor:
    x = matrices / torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    for a, b, c in schedule(coefficients, steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def spread(rows: int, columns: int) -> Tensor:
    """Return matrices with singular values from 1 to 1e-7."""
    left = torch.linalg.qr(torch.randn(2, rows, rows, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(2, columns, rows, dtype=torch.float64)).Q
    return (left * torch.logspace(0, -7, rows, dtype=torch.float64)) @ right.mT


@pytest.mark.parametrize("shape", [(24, 96), (24, 48), (24, 47), (24, 24), (1, 5)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_at_once_are_the_steps(shape: tuple[int, int], name: str) -> None:
    coefficients, steps = SCHEDULES[name]
    matrices = torch.randn(2, *shape, dtype=torch.float64)
    expected = plainly(matrices, coefficients, steps)
    assert float((orthogonalize(matrices, steps=steps, coefficients=coefficients) - expected).norm()) < 1e-10


def test_small_singular_values_survive_in_float32() -> None:
    matrices = spread(48, 192)
    expected = plainly(matrices, QUINTIC, 5)
    error = (orthogonalize(matrices.float()).double() - expected).norm() / expected.norm()
    assert float(error) < 3e-5  # one at a time 8e-6, all five at once 5e-4


@pytest.mark.parametrize(
    ("shape", "dtype", "lengths"),
    [
        ((8, 32), torch.float32, [3, 2]),
        ((8, 15), torch.float32, [1] * 5),
        ((8, 32), torch.bfloat16, [1] * 5),
    ],
)
def test_only_wide_matrices_in_full_precision_take_several_at_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], dtype: torch.dtype, lengths: list[int]
) -> None:
    seen: list[int] = []
    original = orthogonal.iterate

    def counted(x: Tensor, gram: Tensor, iterations: list[Coefficients]) -> Tensor:
        seen.append(len(iterations))
        return original(x, gram, iterations)

    monkeypatch.setattr(orthogonal, "iterate", counted)
    orthogonalize(torch.randn(1, *shape), dtype=dtype)
    assert seen == lengths


@pytest.mark.parametrize("shape", [(6, 24), (6, 8), (8, 8)])
@pytest.mark.parametrize("length", [1.0, 1e-6, 1e-30])
def test_an_epsilon_keeps_short_matrices_short(shape: tuple[int, int], length: float) -> None:
    matrix = torch.randn(shape, dtype=torch.float64)
    matrix *= length / matrix.norm()
    found = orthogonalize(matrix[None], eps=1e-5)[0]
    torch.testing.assert_close(found, reference.newton_schulz(matrix, eps=1e-5), rtol=1e-9, atol=0)
    if length == 1:
        torch.testing.assert_close(found, orthogonalize(matrix[None])[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [1.0, 1e-5, 1e-30])
def test_an_epsilon_where_rows_are_rescaled(length: float) -> None:
    matrix = torch.randn(6, 10, dtype=torch.float64)
    matrix *= length / matrix.norm()
    found = orthogonalize(matrix[None], steps=4, coefficients=ALMOST_ORTHOGONAL, rescale_rows=True, eps=1e-4)[
        0
    ]
    torch.testing.assert_close(found, reference.turbo(matrix, eps=1e-4), rtol=1e-9, atol=0)
    unbounded = reference.turbo(matrix)
    assert (found.norm() < 0.5 * unbounded.norm()) == (length < 1)


@pytest.mark.parametrize("rescale_rows", [False, True])
def test_nothing_stays_nothing_with_an_epsilon(rescale_rows: bool) -> None:
    zero = torch.zeros(2, 3, 4)
    assert torch.equal(orthogonalize(zero, eps=1e-7, rescale_rows=rescale_rows), zero)
