"""Prodigy: against pytorch_optimizer's class; one distance; learning rates of roles as multipliers."""

from functools import partial
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from support.tensors import normals
from ultra_optim import Prodigy, build
from ultra_optim.reference.prodigy import prodigy

SHAPES = ((7,), (4, 9), (2, 3, 4))


tensors = partial(normals, SHAPES)


def descend(optimizer: Any, params: list[Tensor], steps: int = 60) -> None:
    """Gradients of |p - 1|^4 with noise: weights leave where they started, and the distance grows."""
    for step in range(steps):
        for p, noise in zip(params, tensors(step + 1, params[0].dtype), strict=True):
            p.grad = (4 * (p.detach() - 1) ** 3 + 0.1 * noise).to(p.dtype)
        optimizer.step()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("options", [{}, {"safeguard_warmup": True, "growth_rate": 1.5}, {"d_coef": 0.5}])
def test_against_pytorch_optimizer(
    options: dict[str, Any], dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # it sums in the default dtype, whatever that of the parameters is
    monkeypatch.setattr(torch, "tensor", partial(torch.tensor, dtype=dtype))
    mine, theirs = ([p.requires_grad_() for p in tensors(0, dtype)] for _ in range(2))
    shared = {"lr": 0.7, "betas": (0.9, 0.99), "weight_decay": 0.01, "d0": 1e-4, **options}
    # in float32 they agree where they round alike, without fused products: the first steps are a dozen ulps
    ours = Prodigy(mine, compile=None if dtype is torch.float64 else False, **shared)
    oracle = pytorch_optimizer.Prodigy(theirs, **shared)
    descend(ours, mine)
    descend(oracle, theirs)
    assert ours.param_groups[0]["d"] > 10 * 1e-4, "the distance has not grown: nothing is tested"
    for a, b in zip(mine, theirs, strict=True):
        assert float((a - b).detach().abs().max() / b.detach().abs().max()) < tolerance


@pytest.mark.parametrize("bias_correction", [False, True])
def test_against_the_formula_with_groups_of_several_learning_rates(bias_correction: bool) -> None:
    params = [p.requires_grad_() for p in tensors(0)]
    lrs = [1.0, 0.1, 0.5]
    groups = [{"params": [p], "lr": lr} for p, lr in zip(params, lrs, strict=True)]
    options = {"betas": (0.9, 0.99), "weight_decay": 0.01, "d0": 1e-4, "use_bias_correction": bias_correction}
    optimizer = Prodigy(groups, **options)
    descend(optimizer, params, steps=35)
    expected = prodigy(tensors(0), lambda now, step: [
        4 * (p - 1) ** 3 + 0.1 * noise for p, noise in zip(now, tensors(step), strict=True)
    ], lrs=lrs, steps=35, eps=1e-8, **options)  # fmt: skip
    for a, b in zip(params, expected, strict=True):
        # p_0 - p cancels at first: rounding of 1e-16 is 1e-12 of the first distances, and grows with them
        torch.testing.assert_close(a.detach(), b, rtol=1e-8, atol=1e-10)


def test_a_rate_is_a_unit_of_measure() -> None:
    """A role of rate u moves as weights would that are written in units of u."""
    scale = 0.25
    plain = nn.Parameter(tensors(0)[1])
    scaled = nn.Parameter(tensors(0)[1] / scale)
    other = [nn.Parameter(tensors(0)[0]) for _ in range(2)]
    units = Prodigy([{"params": [other[0]]}, {"params": [plain], "lr": scale}], lr=1.0, d0=1e-4, eps=1e-30)
    written = Prodigy([other[1], scaled], lr=1.0, d0=1e-4, eps=1e-30)
    for step in range(40):
        noise = tensors(step + 1)
        for p, value, factor in ((plain, plain, 1.0), (scaled, scaled * scale, scale)):
            p.grad = factor * (4 * (value.detach() - 1) ** 3 + noise[1])
        for p in other:
            p.grad = 4 * (p.detach() - 1) ** 3 + noise[0]
        units.step()
        written.step()
    torch.testing.assert_close(plain.detach(), scaled.detach() * scale, rtol=1e-9, atol=1e-12)
    assert units.param_groups[0]["d"] == pytest.approx(written.param_groups[0]["d"], rel=1e-9)


def test_the_distance_is_one_for_all_groups_and_does_not_need_the_decay_to_grow() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = build("prodigy", model, d0=1e-6)
    for step in range(60):
        loss = (
            model(torch.arange(5)) - torch.randn(5, 4, generator=torch.Generator().manual_seed(7))
        ).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        del step
    assert len({group["d"] for group in optimizer.param_groups}) == 1
    assert len(optimizer.param_groups) > 1
    assert optimizer.param_groups[0]["d"] > 1e-4


def test_thinning_saves_memory_and_still_finds_the_distance() -> None:
    found = []
    for slice_p in (1, 3):
        params = [p.requires_grad_() for p in tensors(0)]
        optimizer = Prodigy(params, d0=1e-4, slice_p=slice_p)
        descend(optimizer, params)
        found.append(optimizer.param_groups[0]["d"])
        kept = sum(v.numel() for v in optimizer.state[params[1]].values())
        assert kept == (4 if slice_p == 1 else 2 + 2 / 3) * 36
    assert found[1] == pytest.approx(found[0], rel=0.5)
