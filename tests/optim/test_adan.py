"""Adan: what its docstring promises beyond the formula."""

import pytest
import torch
from torch import nn

from ultra_optim import Adan


def test_cautious_decay_needs_the_decoupled_form() -> None:
    with pytest.raises(ValueError, match="no_prox=True"):
        Adan([nn.Parameter(torch.ones(2))], decay_rule="cautious")
    Adan([nn.Parameter(torch.ones(2))], decay_rule="cautious", no_prox=True)


def test_the_first_difference_is_zero() -> None:
    p = nn.Parameter(torch.zeros(3))
    optimizer = Adan([p], lr=0.1)
    p.grad = torch.tensor([1.0, -2.0, 3.0])
    optimizer.step()
    assert not optimizer.state[p]["exp_avg_diff"].any()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.1, 0.1, -0.1]))


def test_the_norm_that_is_clipped_is_that_of_all_groups() -> None:
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = Adan([{"params": [one]}, {"params": [other]}], lr=0.1, max_grad_norm=1.0)
    one.grad, other.grad = torch.full((1,), 3.0), torch.full((1,), 4.0)
    optimizer.step()
    assert optimizer.state[one]["previous_grad"].item() == pytest.approx(0.6)
    assert optimizer.state[other]["previous_grad"].item() == pytest.approx(0.8)
    assert one.grad.item() == 3.0
