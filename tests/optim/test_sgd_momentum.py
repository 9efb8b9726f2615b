"""SGD with momentum: the cases in which torch's fused kernel fails, and torch's own."""

import pytest
import torch
from torch import nn

from ultra_optim import SGDMomentum


def test_a_parameter_may_get_its_first_gradient_late() -> None:
    early, late = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = SGDMomentum([early, late], lr=0.1)
    early.grad = torch.ones(3)
    optimizer.step()
    late.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.full((3,), 0.9))
    torch.testing.assert_close(early.detach(), torch.full((3,), 1 - 0.1 - 0.19))


def test_bfloat16_parameters_move() -> None:
    p = nn.Parameter(torch.ones(96, dtype=torch.bfloat16))
    p.grad = torch.ones_like(p)
    SGDMomentum([p], lr=0.5).step()
    assert torch.equal(p.detach().float(), torch.full((96,), 0.5))


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov"):
        SGDMomentum([nn.Parameter(torch.ones(3))], nesterov=True, momentum=0.0)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.0}, {"dampening": 0.3}, {"nesterov": True}])
def test_moves_as_torch_does(options: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3, 5, generator=generator)
    ours, theirs = nn.Parameter(first.clone()), nn.Parameter(first.clone())
    options = {"momentum": 0.9, "weight_decay": 0.1, "lr": 0.05, **options}
    pairs = (ours, SGDMomentum([ours], **options)), (theirs, torch.optim.SGD([theirs], **options))
    for _ in range(5):
        gradient = torch.randn(3, 5, generator=generator)
        for p, optimizer in pairs:
            p.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert bool(pairs[0][1].state[ours]) == (options["momentum"] > 0)
