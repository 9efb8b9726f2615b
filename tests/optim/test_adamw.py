"""The wrapper around torch's AdamW: fused only where that is right."""

import pytest
import torch
from torch import nn

from ultra_optim import AdamW


def test_fused_by_default() -> None:
    optimizer = AdamW(nn.Linear(3, 4).parameters())
    assert optimizer.param_groups[0]["fused"] is True
    assert AdamW([nn.Parameter(torch.ones(3))], fused=False).param_groups[0]["fused"] is False


def test_gradients_in_another_layout_are_not_mispaired() -> None:
    start = torch.arange(12.0).view(3, 4)
    ours, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    grad = torch.randn(4, 3).t()
    assert grad.stride() != ours.stride()
    ours.grad, plain.grad = grad, grad.contiguous()
    AdamW([ours], lr=0.1).step()
    torch.optim.AdamW([plain], lr=0.1, fused=False).step()
    torch.testing.assert_close(ours.detach(), plain.detach())


def test_hooks_of_a_step_run_once() -> None:
    """They would run twice if our step called torch's, once torch's class has been used by itself."""
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    torch.optim.AdamW([p])
    optimizer = AdamW([p])
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step()
    assert calls == ["before", "after"]


def test_sparse_gradients_of_a_closure_are_refused_before_anything_moves() -> None:
    dense, table = nn.Parameter(torch.ones(2)), nn.Embedding(4, 3, sparse=True)
    optimizer = AdamW([{"params": [dense]}, {"params": [table.weight]}])

    def closure() -> torch.Tensor:
        loss = dense.sum() + table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match=r"AdamW: the gradient of a parameter of shape \(4, 3\) is sparse"):
        optimizer.step(closure)
    assert torch.equal(dense.detach(), torch.ones(2))
    assert not optimizer.state


def test_survives_copying() -> None:
    import copy

    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = AdamW([p], lr=0.1)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    twin.step()
    assert twin.param_groups[0]["lr"] == 0.1
