"""The wrapper around torch's SGD: the cases in which torch's fused kernel fails."""

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
    with pytest.raises(ValueError, match="Nesterov"):
        SGDMomentum([nn.Parameter(torch.ones(3))], nesterov=True, momentum=0.0)
