"""Inverses of unit lower triangular matrices against torch's."""

import pytest
import torch

from ultra_blocks.functional.triangular import corners, unit_lower_inverse


def draw(size, batch=(2, 3)):
    g = torch.Generator().manual_seed(0)
    return torch.randn(*batch, size, size, generator=g, dtype=torch.float64)


def plain(lower):
    return torch.linalg.inv(torch.eye(lower.shape[-1], dtype=lower.dtype) + lower.tril(-1))


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_is_the_inverse(size):
    lower = draw(size).requires_grad_()
    ours, theirs = unit_lower_inverse(lower), plain(lower)
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max()
    weights = draw(size).cos()
    (ours,) = torch.autograd.grad((ours * weights).sum(), lower)
    (theirs,) = torch.autograd.grad((theirs * weights).sum(), lower)
    assert (ours - theirs).abs().max() <= 1e-11 * theirs.abs().max()


def test_reads_nothing_on_and_above_the_diagonal():
    lower = draw(8)
    hidden = torch.ones(8, 8, dtype=torch.bool).triu()
    given = lower.masked_fill(hidden, float("nan")).requires_grad_()
    inverse = unit_lower_inverse(given)
    assert torch.equal(inverse, unit_lower_inverse(lower))
    (gradient,) = torch.autograd.grad(inverse.sum(), given)
    assert (gradient[..., hidden] == 0).all()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("turn", [0.0, 0.01, 1.0])
def test_single_precision_is_as_exact_as_substitution(beta, turn):
    """Overlaps of unit keys: all alike, almost alike, and apart."""
    g = torch.Generator().manual_seed(0)
    keys = torch.ones(64, 8) + turn * torch.randn(64, 8, generator=g)
    keys = torch.nn.functional.normalize(keys, dim=-1)
    lower = beta * keys @ keys.T
    exact = plain(lower.double())
    identity = torch.eye(64)
    solved = torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)
    ours, theirs = ((x - exact).abs().max() for x in (unit_lower_inverse(lower), solved))
    assert ours < 2 * theirs + 1e-6


def test_corners_are_a_view():
    x = torch.zeros(8, 8)
    corners(x, 2).fill_(1)
    filled = [(2, 0), (2, 1), (3, 0), (3, 1), (6, 4), (6, 5), (7, 4), (7, 5)]
    assert [tuple(place) for place in x.nonzero().tolist()] == filled
