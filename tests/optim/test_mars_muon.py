"""MARS-M: against its formula and pytorch_optimizer's."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from support.optimizers import rms_scale
from support.tensors import normal
from ultra_optim import MARSMuon
from ultra_optim.reference import muon as reference

SHAPES = ((6, 10), (10, 6), (8, 8))
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype) -> None:
    def make(params: list[Tensor]) -> MARSMuon:
        return MARSMuon(
            [{"params": params, "kind": "matrix"}], lr=0.02, weight_decay=0.1, momentum=0.9, gamma=0.05
        )

    def formula(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
        zero = torch.zeros_like(g)
        c = reference.mars(g, state.get("before", zero), 0.9, 0.05)
        state["before"], state["b"] = g, 0.9 * state.get("b", zero) + 0.1 * c
        return (1 - 0.02 * 0.1) * p - 0.02 * rms_scale(p) * reference.newton_schulz(state["b"])

    assert follow(make, formula, SHAPES, dtype=dtype, steps=12) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_against_pytorch_optimizer(
    follow: Callable[..., float], monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Its MARS-Shampoo, with products that are not in bfloat16."""
    iteration = f"{pytorch_optimizer.MARS.__module__}.zero_power_via_newton_schulz_5"
    monkeypatch.setattr(iteration, lambda g, eps: reference.newton_schulz(g))
    shared = {"lr": 0.02, "weight_decay": 0.1, "gamma": 0.05}

    def ours(params: list[Tensor]) -> MARSMuon:
        groups = [{"params": params, "kind": "matrix"}]
        return MARSMuon(groups, momentum=0.9, adjust_lr_fn="original", **shared)

    def theirs(params: list[Tensor]) -> Any:
        options = {**shared, "betas": (0.9, 0.99), "mars_type": "shampoo", "foreach": False}
        return pytorch_optimizer.MARS(params, **options)

    assert follow(ours, theirs, SHAPES, formula=False, dtype=dtype, steps=12) < TOLERANCES[dtype]


def test_row_blocks_and_experts_are_matrices_of_their_own() -> None:
    """A fused projection and stacked experts move as their parts do alone, what is kept of them included."""
    whole = [normal((12, 5), 0), normal((3, 4, 5), 1)]
    parts = [t.clone() for t in (*whole[0].split([4, 2, 6]), *whole[1])]
    fused = MARSMuon(
        [
            {"params": [whole[0]], "kind": "matrix", "row_blocks": [[4, 2, 6]]},
            {"params": [whole[1]], "kind": "expert", "expert_dim": [0]},
        ],
        lr=0.1,
    )
    apart = MARSMuon([{"params": parts, "kind": "matrix"}], lr=0.1)
    for step in range(2, 6):
        for p in whole:
            p.grad = normal(tuple(p.shape), step)
        for p, g in zip(parts, (*whole[0].grad.split([4, 2, 6]), *whole[1].grad), strict=True):
            p.grad = g.clone()
        fused.step()
        apart.step()
    for p, e in zip(whole, (torch.cat(parts[:3]), torch.stack(parts[3:])), strict=True):
        torch.testing.assert_close(p, e, rtol=1e-9, atol=1e-12)
