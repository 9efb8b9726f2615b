"""NorMuon: against its formula and pytorch_optimizer, and what it is for."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from support.optimizers import nesterov_momentum, rms_scale
from support.tensors import normal
from ultra_optim import Muon, NorMuon
from ultra_optim.reference import muon as reference

SHAPES = ((6, 10), (10, 6), (8, 8))
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype) -> None:
    def make(params: list[Tensor]) -> NorMuon:
        return NorMuon([{"params": params, "kind": "matrix"}], lr=0.02, weight_decay=0.1, beta2=0.9)

    def formula(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
        o = rms_scale(p) * reference.newton_schulz(nesterov_momentum(g, state))
        direction, state["v"] = reference.normuon(o, state.get("v", p.new_zeros(len(p))), 0.9)
        return (1 - 0.02 * 0.1) * p - 0.02 * direction

    assert follow(make, formula, SHAPES, dtype=dtype, steps=12) < TOLERANCES[dtype]


def test_against_pytorch_optimizer(follow: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its products are in bfloat16, and its eps is added to roots that are far from 0."""
    module = pytorch_optimizer.NorMuon.__module__
    monkeypatch.setattr(
        f"{module}.zero_power_via_newton_schulz_5", lambda g, num_steps, weights: reference.newton_schulz(g)
    )
    shared = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "beta2": 0.9}

    def make(params: list[Tensor]) -> NorMuon:
        return NorMuon([{"params": params, "kind": "matrix"}], **shared)

    def oracle(params: list[Tensor]) -> Any:
        groups = [{"params": params, "use_muon": True}]
        return pytorch_optimizer.NorMuon(groups, **shared, use_adjusted_lr=True, eps=1e-30, foreach=False)

    assert follow(make, oracle, SHAPES, formula=False) < 1e-9


def test_it_evens_the_rows_and_keeps_the_size() -> None:
    found = {}
    for cls in (NorMuon, Muon):
        p = torch.zeros(4, 32, dtype=torch.float64)
        p.grad = normal((4, 32), 1)
        cls([{"params": [p], "kind": "matrix"}], lr=1.0, weight_decay=0.0).step()
        found[cls] = p.norm(dim=1)
    assert float(found[NorMuon].max() / found[NorMuon].min()) == pytest.approx(1.0, abs=1e-9)
    assert float(found[Muon].max() / found[Muon].min()) > 1.01
    assert float(found[NorMuon].norm()) == pytest.approx(float(found[Muon].norm()), rel=1e-9)


def test_row_blocks_and_experts_are_matrices_of_their_own() -> None:
    """A fused projection and stacked experts move as their parts do alone, what is kept of them included."""
    whole = [normal((12, 5), 0), normal((3, 4, 5), 1)]
    parts = [t.clone() for t in (*whole[0].split([4, 2, 6]), *whole[1])]
    fused = NorMuon(
        [
            {"params": [whole[0]], "kind": "matrix", "row_blocks": [[4, 2, 6]]},
            {"params": [whole[1]], "kind": "expert", "expert_dim": [0]},
        ],
        lr=0.1,
    )
    apart = NorMuon([{"params": parts, "kind": "matrix"}], lr=0.1)
    for step in range(2, 6):
        for p in whole:
            p.grad = normal(tuple(p.shape), step)
        for p, g in zip(parts, (*whole[0].grad.split([4, 2, 6]), *whole[1].grad), strict=True):
            p.grad = g.clone()
        fused.step()
        apart.step()
    for p, e in zip(whole, (torch.cat(parts[:3]), torch.stack(parts[3:])), strict=True):
        torch.testing.assert_close(p, e, rtol=1e-9, atol=1e-12)
