"""Scion: each kind of weight in its own norm, inside its own ball."""

import math

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import Scion, build
from ultra_optim.reference import muon as reference


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("unconstrained", [False, True])
def test_scion_takes_each_kind_in_its_own_norm(unconstrained: bool) -> None:
    shapes = {"matrix": (6, 10), "embedding": (7, 4), "head": (7, 4), "vector": (5,)}
    params = {kind: nn.Parameter(draw(shape, 0)) for kind, shape in shapes.items()}
    optimizer = Scion(
        [{"params": [p], "kind": kind} for kind, p in params.items()], lr=0.01, unconstrained=unconstrained
    )
    expected = {kind: p.detach().clone() for kind, p in params.items()}
    momenta = {kind: torch.zeros_like(p) for kind, p in expected.items()}
    for step in range(1, 6):
        for kind, p in params.items():
            p.grad = draw(shapes[kind], step)
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


def test_scions_weights_stay_in_their_balls() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    optimizer = build("scion", model, lr=0.2, radius=3.0)
    for step in range(60):
        model[0].weight.grad = draw((8, 8), step % 3).float()
        optimizer.step()
    assert float(torch.linalg.matrix_norm(model[0].weight.detach(), 2)) <= 3.0 * 1.2
