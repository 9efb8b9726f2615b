"""Schedule-free AdamW: against its authors' class, against the sequences written out, and its promises."""

from functools import partial

import pytest
import schedulefree
import torch
from torch import nn

from support.optimizers import drive
from support.tensors import normals
from ultra_optim import ScheduleFreeAdamW
from ultra_optim.reference.averaging import schedulefree_adamw

SHAPES = ((7,), (4, 9), (2, 3, 4))
OPTIONS = {
    "lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "warmup_steps": 5, "r": 0.5,
    "weight_lr_power": 2.0,
}  # fmt: skip


tensors = partial(normals, SHAPES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_both_sequences_are_those_of_the_authors_class(dtype: torch.dtype, tolerance: float) -> None:
    mine, theirs = ([p.requires_grad_() for p in tensors(0, dtype)] for _ in range(2))
    ours = ScheduleFreeAdamW(mine, **OPTIONS)
    oracle = schedulefree.AdamWScheduleFree(theirs, foreach=False, **OPTIONS)
    oracle.train()
    drive(ours, mine)
    drive(oracle, theirs)
    for _ in ("y", "x"):
        for a, b in zip(mine, theirs, strict=True):
            assert float((a - b).detach().abs().max() / b.detach().abs().max()) < tolerance
        ours.eval()
        oracle.eval()


def test_the_sequences_written_out() -> None:
    params = [p.requires_grad_() for p in tensors(0, torch.float64)]
    optimizer = ScheduleFreeAdamW(params, **OPTIONS)
    drive(optimizer, params, 12)
    grads = [tensors(step + 1, torch.float64) for step in range(12)]
    for index, (start, p) in enumerate(zip(tensors(0, torch.float64), params, strict=True)):
        y, state = start, {}
        for step in grads:
            y = schedulefree_adamw(y, step[index], state, **OPTIONS)
        torch.testing.assert_close(p.detach(), y, rtol=0, atol=1e-12)
        optimizer.eval()
        torch.testing.assert_close(p.detach(), state["x"], rtol=0, atol=1e-12)
        optimizer.train()


def test_at_rate_zero_nothing_moves_and_nothing_counts() -> None:
    params = [p.requires_grad_() for p in tensors(0, torch.float64)]
    optimizer = ScheduleFreeAdamW(params, **OPTIONS)
    drive(optimizer, params, 3)
    before, group = [p.detach().clone() for p in params], optimizer.param_groups[0]
    counted = group["k"], group["weight_sum"]
    group["lr"] = 0.0
    drive(optimizer, params, 1)
    assert all(torch.equal(p.detach(), b) for p, b in zip(params, before, strict=True))
    assert (group["k"], group["weight_sum"]) == counted


def test_a_step_in_evaluation_mode_changes_nothing() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = ScheduleFreeAdamW([p])
    p.grad = torch.ones(3)
    optimizer.step()
    optimizer.eval()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match=r"call train\(\)"):
        optimizer.step()
    assert torch.equal(p.detach(), before)


def test_a_first_beta_of_zero_has_no_average_to_return_to() -> None:
    with pytest.raises(ValueError, match="betas"):
        ScheduleFreeAdamW([nn.Parameter(torch.ones(3))], betas=(0.0, 0.9))
