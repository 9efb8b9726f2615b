"""Adam-mini: what is a block."""

import pytest
import torch
from torch import nn

from ultra_optim import AdamMini
from ultra_optim.adam_mini import count_blocks
from ultra_optim.engine import sizes


def kept(shape: tuple[int, ...], **group: object) -> tuple[int, ...]:
    p = nn.Parameter(torch.ones(shape))
    optimizer = AdamMini([{"params": [p], **group}])
    p.grad = torch.ones(shape)
    optimizer.step()
    state = optimizer.state[p]
    assert state["exp_avg"].shape == shape
    return tuple(state["block_avg_sq"].shape)


def test_blocks() -> None:
    assert kept((6, 4)) == (6,)
    assert kept((6, 4), block_rows=3) == (2,)
    assert kept((7, 4), block_rows=3) == (7,)
    assert kept((6,)) == (1,)
    assert kept(()) == (1,)
    assert kept((6, 2, 3, 3)) == (6,)
    assert kept((3, 6, 4), kind="expert", expert_dim=[0]) == (18,)
    assert kept((6, 4, 3), kind="expert", expert_dim=[2]) == (18,)
    assert kept((3, 6, 4), kind="expert") == (18,)


def test_a_block_shares_its_second_moment() -> None:
    """The first step divides each row by its own root mean square."""
    p = nn.Parameter(torch.zeros(2, 2))
    optimizer = AdamMini([p], lr=0.1, eps=0.0)
    p.grad = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    optimizer.step()
    row = -0.1 * torch.tensor([3.0, 4.0]) / 12.5**0.5
    torch.testing.assert_close(p.detach(), torch.stack([row, row]))


def test_experts_are_separate_matrices_wherever_their_dimension_is() -> None:
    grads = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    ends = []
    for dim in (0, 1, 2):
        p = nn.Parameter(torch.zeros(3, 6, 4).movedim(0, dim).contiguous())
        optimizer = AdamMini([{"params": [p], "kind": "expert", "expert_dim": [dim]}], lr=0.1)
        p.grad = grads.movedim(0, dim).contiguous()
        optimizer.step()
        ends.append(p.detach().movedim(dim, 0))
    alone = nn.Parameter(torch.zeros(6, 4))
    optimizer = AdamMini([alone], lr=0.1)
    alone.grad = grads[1].clone()
    optimizer.step()
    for end in ends:
        torch.testing.assert_close(end, ends[0])
        torch.testing.assert_close(end[1], alone.detach())


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> torch.Tensor:
        p = nn.Parameter(torch.ones(9, 5))
        optimizer = AdamMini([p], lr=0.1)
        p.grad = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
        optimizer.step()
        return p.detach()

    whole = end()
    monkeypatch.setattr(sizes, "PIECE", 10)
    torch.testing.assert_close(end(), whole)


def test_count_of_state() -> None:
    """n numbers and one a block."""
    assert count_blocks(torch.empty(16_000, 384)) == 16_000
