"""MARS-AdamW: vectors, experts, and what a group sets itself."""

from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import AdamW, MARSAdamW


def stepped(p: Tensor, optimizer: torch.optim.Optimizer, steps: int = 3) -> Tensor:
    for step in range(steps):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step), dtype=p.dtype)
        optimizer.step()
    return p.detach()


def vector() -> nn.Parameter:
    return nn.Parameter(torch.linspace(1, 2, 5, dtype=torch.float64))


def test_vectors_take_adamw() -> None:
    ours, theirs = vector(), vector()
    options: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.2, "eps": 1e-8}
    mine = stepped(ours, MARSAdamW([ours], **options))
    torch.testing.assert_close(mine, stepped(theirs, AdamW([theirs], betas=(0.9, 0.95), **options)))
    assert "last_grad" not in MARSAdamW([ours]).state[ours]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (4, 3, 2, 2)], ids=str)
def test_tensors_of_more_than_two_dimensions_are_corrected_too(shape: tuple[int, ...]) -> None:
    """As by pytorch_optimizer; the authors' code gives them AdamW with ``betas_1d``."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ours, theirs, plain = (nn.Parameter(start.clone()) for _ in range(3))
    options: dict[str, Any] = {"lr": 0.1, "eps": 1e-12, "weight_decay": 0.2}
    mine = stepped(ours, MARSAdamW([ours], **options))
    peer = pytorch_optimizer.MARS([theirs], betas=(0.95, 0.99), gamma=0.025, **options)
    torch.testing.assert_close(mine, stepped(theirs, peer), rtol=1e-8, atol=1e-8)
    authors = stepped(plain, AdamW([plain], betas=(0.9, 0.95), **options))
    assert float((mine - authors).abs().max()) > 1e-3


def test_lr_1d_and_weight_decay_1d_follow_the_schedule_of_lr() -> None:
    ours, theirs = vector(), vector()
    optimizer = MARSAdamW([ours], lr=0.1, lr_1d=0.05, weight_decay_1d=0.2)
    optimizer.param_groups[0]["lr"] = 0.02
    mine = stepped(ours, optimizer)
    expected = AdamW([theirs], lr=0.01, betas=(0.9, 0.95), weight_decay=0.2)
    torch.testing.assert_close(mine, stepped(theirs, expected))


def test_a_group_that_sets_its_own_is_left_alone() -> None:
    ours, theirs = vector(), vector()
    group = {"params": [ours], "lr": 0.03, "weight_decay": 0.0}
    mine = stepped(ours, MARSAdamW([group], lr=0.1, lr_1d=0.05, weight_decay_1d=0.2))
    expected = AdamW([theirs], lr=0.03, betas=(0.9, 0.95), weight_decay=0.0)
    torch.testing.assert_close(mine, stepped(theirs, expected))


def test_lr_1d_needs_a_rate_to_follow() -> None:
    with pytest.raises(ValueError, match="lr must not be 0"):
        MARSAdamW([vector()], lr=0.0, lr_1d=0.1)


def test_each_expert_has_its_own_norm() -> None:
    """A small gradient beside a large one is not scaled down with it."""
    p = nn.Parameter(torch.zeros(2, 3, 4))
    optimizer = MARSAdamW([{"params": [p], "kind": "expert", "expert_dim": [0]}], lr=0.1, gamma=0.0)
    p.grad = torch.stack([torch.full((3, 4), 0.01), torch.full((3, 4), 100.0)])
    optimizer.step()
    m = optimizer.state[p]["exp_avg"]
    torch.testing.assert_close(m[0], torch.full((3, 4), 0.05 * 0.01))
    assert float(m[1].norm()) == pytest.approx(0.05)
