"""Scion: each kind of weight in its own norm, inside its own ball."""

import math

import pytest
import torch
from torch import nn

from support.tensors import normal
from ultra_optim import Scion, build
from ultra_optim.reference import muon as reference


@pytest.mark.parametrize("unconstrained", [False, True])
def test_scion_takes_each_kind_in_its_own_norm(unconstrained: bool) -> None:
    shapes = {"matrix": (6, 10), "embedding": (7, 4), "head": (7, 4), "vector": (5,)}
    params = {kind: nn.Parameter(normal(shape, 0)) for kind, shape in shapes.items()}
    optimizer = Scion(
        [{"params": [p], "kind": kind} for kind, p in params.items()], lr=0.01, unconstrained=unconstrained
    )
    expected = {kind: p.detach().clone() for kind, p in params.items()}
    momenta = {kind: torch.zeros_like(p) for kind, p in expected.items()}
    for step in range(1, 6):
        for kind, p in params.items():
            p.grad = normal(shapes[kind], step)
            m = momenta[kind] = 0.9 * momenta[kind] + 0.1 * p.grad
            direction = {
                "matrix": lambda m: 50 * math.sqrt(6 / 10) * reference.newton_schulz(m),
                "embedding": lambda m: 3000 * m.sign() / 4,
                "head": lambda m: 3000 * m.sign() / 4,
                "vector": lambda m: m / (m.square().mean().sqrt() + 1e-8),
            }[kind](m)
            expected[kind] = (1.0 if unconstrained else 0.99) * expected[kind] - 0.01 * direction
        optimizer.step()
    for kind, p in params.items():
        torch.testing.assert_close(p.detach(), expected[kind], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [4, 16])
def test_a_table_moves_less_the_wider_it_is_unless_its_radius_grows(width: int) -> None:
    """The authors' norm of the rows of an input table gives rows the length of the radius at any width."""
    g = normal((7, width), 1)
    by_row = 750 * g / g.square().mean(1, keepdim=True).sqrt()
    expected = by_row.square().mean(1).sqrt()
    for radius, share in ((3000.0, 4 / width), (750.0 * width, 1.0)):
        table = nn.Parameter(torch.zeros(7, width, dtype=torch.float64))
        optimizer = Scion(
            [{"params": [table], "kind": "embedding"}], lr=1.0, radius_ends=radius, momentum=1.0
        )
        table.grad = g
        optimizer.step()
        torch.testing.assert_close(table.detach().square().mean(1).sqrt(), share * expected)


@pytest.mark.parametrize("width", [8, 32])
def test_what_a_matrix_and_a_head_compute_changes_equally_much_at_any_width(width: int) -> None:
    """By at most the radius for inputs of root mean square 1; a rank of 1 meets the bound of a head."""
    x = normal((width,), 3).sign()
    for kind, rows, bound in (("matrix", width, 50.0), ("head", 5, 3000.0)):
        weight = nn.Parameter(torch.zeros(rows, width, dtype=torch.float64))
        optimizer = Scion([{"params": [weight], "kind": kind}], lr=0.01, momentum=1.0)
        weight.grad = torch.outer(torch.ones(rows, dtype=torch.float64), x)
        optimizer.step()
        moved = float((weight.detach() @ x).square().mean().sqrt())
        assert moved == pytest.approx(0.01 * bound, rel=0.0 if kind == "head" else 0.35)


def test_scions_weights_stay_in_their_balls() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    optimizer = build("scion", model, lr=0.2, radius=3.0)
    for step in range(60):
        model[0].weight.grad = normal((8, 8), step % 3).float()
        optimizer.step()
    assert float(torch.linalg.matrix_norm(model[0].weight.detach(), 2)) <= 3.0 * 1.2
