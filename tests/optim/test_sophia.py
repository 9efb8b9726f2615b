"""Sophia: against its formula and pytorch_optimizer, and nothing without its curvature."""

from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import nn

from support.tensors import normal
from ultra_optim import Sophia
from ultra_optim.reference.formulas import sophia

OPTIONS = {"lr": 0.02, "betas": (0.9, 0.95), "rho": 0.5, "eps": 1e-12, "weight_decay": 0.1}


draw = partial(normal, (4, 9))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("period", [1, 3])
def test_against_the_formula(period: int, dtype: torch.dtype, tolerance: float) -> None:
    p = nn.Parameter(draw(0, dtype))
    optimizer = Sophia([p], update_period=period, **OPTIONS)
    expected, state = draw(0), {}
    unclipped = 0
    for step in range(1, 15):
        p.grad = draw(step, dtype)
        optimizer.step()
        expected = sophia(expected, draw(step), state, **OPTIONS)
        unclipped += int((state["ratio"].abs() < 1).sum())
        assert optimizer.curvature_due == ((step - 1) % period == 0)
        if optimizer.curvature_due:

            def sampled(seed: int = 100 + step) -> float:
                assert p.grad is None
                p.grad = draw(seed, dtype)
                return 7.0

            optimizer.curvature_step(sampled)
            assert p.grad is None
            state["h"] = 0.95 * state["h"] + 0.05 * 7.0 * draw(100 + step) ** 2
        torch.testing.assert_close(p.detach().double(), expected, rtol=0, atol=tolerance)
    assert unclipped > 50, "every element was clipped: the curvature was not tested"


def test_against_pytorch_optimizer() -> None:
    """Its SophiaH with the estimates of our passes. It clips m / h at p, ours m / (rho h) at 1, so
    that p is rho and its rate ours / rho; its estimates come before the step that first uses them."""
    rho = OPTIONS["rho"]
    ours, theirs = nn.Parameter(draw(0)), nn.Parameter(draw(0))
    optimizer = Sophia([ours], update_period=3, **OPTIONS)
    options = OPTIONS | {"lr": OPTIONS["lr"] / rho, "weight_decay": OPTIONS["weight_decay"] * rho}
    oracle = pytorch_optimizer.SophiaH([theirs], p=options.pop("rho"), update_period=10**9, **options)
    estimate = torch.zeros_like(ours)
    for step in range(1, 21):
        ours.grad, theirs.grad = draw(step), draw(step)
        optimizer.step()
        oracle.step(hessian=None if estimate is None else [estimate])
        estimate = None
        if optimizer.curvature_due:

            def sampled(seed: int = 100 + step) -> float:
                ours.grad = draw(seed)
                return 7.0

            optimizer.curvature_step(sampled)
            estimate = 7.0 * draw(100 + step) ** 2
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-12)


def test_without_curvature_it_stops_instead_of_following_signs() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = Sophia([p])
    p.grad = torch.ones(3)
    optimizer.step()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match="curvature_step"):
        optimizer.step()
    assert torch.equal(p.detach(), before)


def test_what_is_due_survives_saving() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = Sophia([p])
    p.grad = torch.ones(3)
    optimizer.step()
    other = Sophia([nn.Parameter(torch.ones(3))])
    assert not other.curvature_due
    other.load_state_dict(optimizer.state_dict())
    assert other.curvature_due
