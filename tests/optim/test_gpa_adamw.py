"""AdamW with primal averaging: against its sequences written out, and AdamW where nothing is averaged.

torch, pytorch_optimizer and HeavyBall do not have the method. The schedule-free one, in its authors' class,
is the same where momentum is 0 and the average is the mean of all steps, mu_x = 1 - 1/t.
"""

from functools import partial

import pytest
import schedulefree
import torch

from support.optimizers import drive
from support.tensors import normals
from ultra_optim import AdamW, GPAAdamW
from ultra_optim.reference.averaging import gpa_adamw

SHAPES = ((7,), (4, 9), (2, 3, 4))
ADAM = {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}


tensors = partial(normals, SHAPES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_the_sequences_written_out(dtype: torch.dtype, tolerance: float) -> None:
    params = [p.requires_grad_() for p in tensors(0, dtype)]
    optimizer = GPAAdamW(params, **ADAM, mu_y=0.7, mu_x=0.9)
    drive(optimizer, params)
    grads = [tensors(step + 1, torch.float64) for step in range(20)]
    for index, (start, p) in enumerate(zip(tensors(0, torch.float64), params, strict=True)):
        y, state = start, {}
        for step in grads:
            y = gpa_adamw(y, step[index], state, **ADAM, mu_y=0.7, mu_x=0.9)
        torch.testing.assert_close(p.detach().double(), y, rtol=0, atol=tolerance)
        optimizer.eval()
        torch.testing.assert_close(p.detach().double(), state["x"], rtol=0, atol=tolerance)
        optimizer.train()


def test_an_average_that_remembers_nothing_is_adamw() -> None:
    mine, plain = ([p.requires_grad_() for p in tensors(0, torch.float64)] for _ in range(2))
    drive(GPAAdamW(mine, **ADAM, mu_x=0.0), mine)
    drive(AdamW(plain, **ADAM), plain)
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=0, atol=1e-12)


def test_a_mean_of_all_steps_is_the_schedule_free_method() -> None:
    mine, theirs = ([p.requires_grad_() for p in tensors(0, torch.float64)] for _ in range(2))
    options = {"lr": 0.02, "eps": 1e-8, "weight_decay": 0.1}
    ours = GPAAdamW(mine, betas=(0.0, 0.99), mu_y=0.7, **options)
    oracle = schedulefree.AdamWScheduleFree(
        theirs, betas=(0.7, 0.99), weight_lr_power=0.0, foreach=False, **options
    )
    oracle.train()
    for step in range(20):
        for params in (mine, theirs):
            for p, g in zip(params, tensors(step + 1, torch.float64), strict=True):
                p.grad = g
        ours.param_groups[0]["mu_x"] = step / (step + 1)
        ours.step()
        oracle.step()
    for _ in ("y", "x"):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a.detach(), b.detach(), rtol=0, atol=1e-12)
        ours.eval()
        oracle.eval()
