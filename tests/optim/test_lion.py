"""Lion: what its docstring promises."""

import torch
from torch import nn

from ultra_optim import Lion


def test_every_element_moves_by_the_rate() -> None:
    p = nn.Parameter(torch.zeros(3, 4))
    p.grad = torch.randn(3, 4)
    Lion([p], lr=0.25).step()
    assert torch.equal(p.detach(), -0.25 * p.grad.sign())


def test_zero_gradient_from_the_start_does_not_move() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.zeros(3)
    Lion([p], lr=0.25).step()
    assert torch.equal(p.detach(), torch.ones(3))
