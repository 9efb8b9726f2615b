"""ADOPT: its first step."""

import torch
from torch import nn

from ultra_optim import ADOPT


def test_the_first_step_neither_moves_nor_decays() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = ADOPT([p], lr=0.1, weight_decay=0.5)
    p.grad = torch.full((3,), 2.0)
    optimizer.step()
    assert torch.equal(p.detach(), torch.ones(3))
    assert torch.equal(optimizer.state[p]["exp_avg_sq"], torch.full((3,), 4.0))


def test_a_late_parameter_has_its_own_first_step() -> None:
    early, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = ADOPT([early, late], lr=0.1)
    for step in range(2):
        early.grad = torch.ones(2)
        late.grad = torch.ones(2) if step == 1 else None
        optimizer.step()
    assert float(early.detach()[0]) < 1
    assert torch.equal(late.detach(), torch.ones(2))
