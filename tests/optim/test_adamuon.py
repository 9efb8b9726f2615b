"""AdaMuon: against its formula and pytorch_optimizer's."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from support.optimizers import nesterov_momentum
from support.tensors import normal
from ultra_optim import AdaMuon
from ultra_optim.reference import muon as reference

SHAPES = ((6, 10), (10, 6), (8, 8))
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}


def newton_schulz(g: Tensor, num_steps: int, weights: Any) -> Tensor:
    del weights
    return reference.newton_schulz(g, num_steps)


@pytest.mark.parametrize("sign", [True, False])
def test_against_the_formula(follow: Callable[..., float], sign: bool) -> None:
    def make(params: list[Tensor]) -> AdaMuon:
        options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "eps": 1e-30, "sign": sign}
        return AdaMuon([{"params": params, "kind": "matrix"}], **options)

    def formula(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
        state["t"] = state.get("t", 0) + 1
        d = nesterov_momentum(g, state, 0.9)
        o = reference.newton_schulz(torch.sign(d) if sign else d)
        o = o * math.sqrt(p.shape[0] / p.shape[1])  # any factor of a matrix is taken out by its norm
        direction, state["v"] = reference.adamuon(o, state.get("v", 0.0), 0.95, state["t"], 1e-30)
        return (1 - 0.02 * 0.1) * p - 0.02 * direction

    assert follow(make, formula, SHAPES, steps=12) < 1e-9


def test_the_papers_algorithm_neither_looks_ahead_nor_corrects_v(follow: Callable[..., float]) -> None:
    """The correction remains in eps alone; the look-ahead is the authors' code's and the default."""

    def paper(p: Tensor, g: Tensor, state: dict[str, Any], *, eps: float) -> Tensor:
        m = state["m"] = 0.95 * state.get("m", 0) + g
        o = reference.newton_schulz(torch.sign(m))
        v = state["v"] = 0.95 * state.get("v", 0) + 0.05 * o**2
        direction = o / (v.sqrt() + eps)
        return (1 - 0.02 * 0.1) * p - 0.02 * 0.2 * math.sqrt(p.numel()) * direction / direction.norm()

    def make(params: list[Tensor], **options: Any) -> AdaMuon:
        return AdaMuon([{"params": params, "kind": "matrix"}], lr=0.02, weight_decay=0.1, **options)

    exact, rough = partial(paper, eps=1e-30), partial(paper, eps=0.5)
    plain, ahead = partial(make, nesterov=False), make
    assert follow(partial(plain, eps=1e-30), exact, SHAPES, steps=12) < 1e-9
    assert follow(partial(plain, eps=0.5), rough, SHAPES, steps=12) > 1e-3
    assert follow(partial(ahead, eps=1e-30), exact, SHAPES, steps=12) > 1e-3


def test_without_sign_it_is_that_of_pytorch_optimizer(
    follow: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # its products are in bfloat16
    module = pytorch_optimizer.AdaMuon.__module__
    monkeypatch.setattr(f"{module}.zero_power_via_newton_schulz_5", newton_schulz)
    shared = {"lr": 0.02, "weight_decay": 0.1, "eps": 1e-12}

    def make(params: list[Tensor]) -> AdaMuon:
        options = {**shared, "momentum": 0.9, "sign": False, "nesterov": False}
        return AdaMuon([{"params": params, "kind": "matrix"}], **options)

    def oracle(params: list[Tensor]) -> Any:
        groups = [{"params": params, "use_muon": True}]
        options = {**shared, "betas": (0.9, 0.95), "use_adjusted_lr": True, "foreach": False}
        return pytorch_optimizer.AdaMuon(groups, **options)

    for shape in SHAPES:  # it takes the scale of the first shape for all
        assert follow(make, oracle, (shape,), formula=False, steps=12) < 1e-6


def test_row_blocks_and_experts_are_matrices_of_their_own() -> None:
    """A fused projection and stacked experts move as their parts do alone, what is kept of them included."""
    whole = [normal((12, 5), 0), normal((3, 4, 5), 1)]
    parts = [t.clone() for t in (*whole[0].split([4, 2, 6]), *whole[1])]
    fused = AdaMuon(
        [
            {"params": [whole[0]], "kind": "matrix", "row_blocks": [[4, 2, 6]]},
            {"params": [whole[1]], "kind": "expert", "expert_dim": [0]},
        ],
        lr=0.1,
    )
    apart = AdaMuon([{"params": parts, "kind": "matrix"}], lr=0.1)
    for step in range(2, 6):
        for p in whole:
            p.grad = normal(tuple(p.shape), step)
        for p, g in zip(parts, (*whole[0].grad.split([4, 2, 6]), *whole[1].grad), strict=True):
            p.grad = g.clone()
        fused.step()
        apart.step()
    for p, e in zip(whole, (torch.cat(parts[:3]), torch.stack(parts[3:])), strict=True):
        torch.testing.assert_close(p, e, rtol=1e-9, atol=1e-12)
