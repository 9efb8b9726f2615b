"""Cautious AdamW: the mask and its mean."""

import pytest
import torch
from torch import nn

from ultra_optim import CautiousAdamW
from ultra_optim.engine import sizes


def test_elements_that_disagree_stay() -> None:
    p = nn.Parameter(torch.zeros(4))
    optimizer = CautiousAdamW([p], lr=0.1, betas=(0.9, 0.9), eps=0.0)
    p.grad = torch.ones(4)
    optimizer.step()
    before = p.detach().clone()
    p.grad = torch.tensor([-0.1, 1.0, 1.0, 1.0])  # the first momentum is still positive
    optimizer.step()
    moved = before - p.detach()
    torch.testing.assert_close(moved, 0.1 * 4 / 3 * torch.tensor([0.0, 1.0, 1.0, 1.0]))


def test_rows_without_gradient_do_not_count() -> None:
    """Counting them as disagreeing would make the step of one row in a thousand a thousand times as long."""
    p = nn.Parameter(torch.zeros(1000, 4))
    optimizer = CautiousAdamW([p], lr=0.1)
    p.grad = torch.zeros(1000, 4)
    p.grad[7] = 1.0
    optimizer.step()
    torch.testing.assert_close(p.detach()[7], torch.full((4,), -0.1))
    assert not p.detach()[:7].any()


def test_the_mean_is_that_of_the_tensor_when_it_is_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> torch.Tensor:
        p = nn.Parameter(torch.zeros(50))
        optimizer = CautiousAdamW([p], lr=0.1)
        for step in range(4):
            p.grad = torch.randn(50, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return p.detach()

    whole = end()
    monkeypatch.setattr(sizes, "TORCH_SLICE", 16)
    torch.testing.assert_close(end(), whole)
