"""LAMB: the trust ratio."""

import pytest
import torch
from torch import nn

from ultra_optim import LAMB
from ultra_optim.lamb import trust_ratios


def test_a_zero_weight_moves() -> None:
    """Clamping |p| from below instead of taking ratio 1 leaves zero-initialised layers where they are."""
    p = nn.Parameter(torch.zeros(4, 5))
    optimizer = LAMB([p], lr=0.1)
    p.grad = torch.ones(4, 5)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((4, 5), -0.1))


def test_trust_ratios() -> None:
    squares = torch.tensor([[4.0, 0.25], [4.0, 0.0], [0.0, 0.25]])
    assert trust_ratios(squares).tolist() == pytest.approx([4.0, 1.0, 1.0])
    assert trust_ratios(squares, limit=3.0).tolist() == [3.0, 1.0, 1.0]


@pytest.mark.parametrize("dim", [0, 1])
def test_each_expert_has_its_own_ratio(dim: int) -> None:
    weights = [torch.full((2, 3), 2.0), torch.full((2, 3), 8.0)]
    stacked = nn.Parameter(torch.stack(weights, dim))
    optimizer = LAMB([{"params": [stacked], "expert_dim": (dim,)}], lr=0.1, weight_decay=0.01)
    alone = [nn.Parameter(w.clone()) for w in weights]
    other = LAMB(alone, lr=0.1, weight_decay=0.01)
    for step in range(3):
        grads = [torch.randn(2, 3, generator=torch.Generator().manual_seed(2 * step + i)) for i in range(2)]
        stacked.grad = torch.stack(grads, dim)
        for p, g in zip(alone, grads, strict=True):
            p.grad = g
        optimizer.step()
        other.step()
    torch.testing.assert_close(stacked.detach(), torch.stack([p.detach() for p in alone], dim))


def test_groups_without_decay_and_vectors_are_not_rescaled() -> None:
    def step(p: nn.Parameter, **group: object) -> float:
        optimizer = LAMB([{"params": [p], **group}], lr=0.1, weight_decay=0.0, eps=0.0)
        p.grad = torch.ones_like(p)
        optimizer.step()
        return float(p.detach().flatten()[0])

    assert step(nn.Parameter(torch.full((2, 2), 5.0)), decay=False) == pytest.approx(4.9)
    assert step(nn.Parameter(torch.full((4,), 5.0))) == pytest.approx(4.9)
    assert step(nn.Parameter(torch.full((2, 2), 5.0))) == pytest.approx(4.5)


def test_parameters_may_join_late() -> None:
    early, late = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LAMB([early, late], lr=0.1)
    for step in range(3):
        early.grad = torch.ones(2, 2)
        late.grad = torch.ones(2, 2) if step == 2 else None
        optimizer.step()
    assert (optimizer.state[early]["step"], optimizer.state[late]["step"]) == (3, 1)
