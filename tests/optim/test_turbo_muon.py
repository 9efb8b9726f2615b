"""Turbo-Muon: against its formula, and what it is for.

torch, pytorch_optimizer and HeavyBall do not have its iteration; that of ``ultra_optim.reference`` is the
authors' formula with their coefficients. ``test_heavyball.py`` puts it into HeavyBall's Muon, which has the
rest.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from support.optimizers import nesterov_momentum, rms_scale
from support.tensors import normal
from ultra_optim import TurboMuon
from ultra_optim.families.orthogonal import ALMOST_ORTHOGONAL, orthogonalize
from ultra_optim.reference import muon as reference

SHAPES = ((6, 10), (10, 6), (8, 8))
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype) -> None:
    def make(params: list[Tensor]) -> TurboMuon:
        return TurboMuon([{"params": params, "kind": "matrix"}], lr=0.02, weight_decay=0.1)

    def formula(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
        d = nesterov_momentum(g.double(), state).to(g.dtype)
        return (1 - 0.02 * 0.1) * p - 0.02 * rms_scale(p) * reference.turbo(d)

    assert follow(make, formula, SHAPES, dtype=dtype, steps=12) < TOLERANCES[dtype]


def test_it_is_closer_to_orthogonal_in_fewer_steps() -> None:
    """Wide gaussians: the error of four turbo steps is far below that of five plain ones."""
    g = normal((64, 256), 3)
    polar = reference.polar(g)
    plain = orthogonalize(g[None])[0]
    turbo = orthogonalize(g[None], steps=4, coefficients=ALMOST_ORTHOGONAL, rescale_rows=True)[0]
    errors = [float((x - polar).norm() / polar.norm()) for x in (turbo, plain)]
    assert errors[0] < 0.1 < errors[1]


def test_row_blocks_and_experts_are_matrices_of_their_own() -> None:
    """A fused projection and stacked experts move as their parts do alone, what is kept of them included."""
    whole = [normal((12, 5), 0), normal((3, 4, 5), 1)]
    parts = [t.clone() for t in (*whole[0].split([4, 2, 6]), *whole[1])]
    fused = TurboMuon(
        [
            {"params": [whole[0]], "kind": "matrix", "row_blocks": [[4, 2, 6]]},
            {"params": [whole[1]], "kind": "expert", "expert_dim": [0]},
        ],
        lr=0.1,
    )
    apart = TurboMuon([{"params": parts, "kind": "matrix"}], lr=0.1)
    for step in range(2, 6):
        for p in whole:
            p.grad = normal(tuple(p.shape), step)
        for p, g in zip(parts, (*whole[0].grad.split([4, 2, 6]), *whole[1].grad), strict=True):
            p.grad = g.clone()
        fused.step()
        apart.step()
    for p, e in zip(whole, (torch.cat(parts[:3]), torch.stack(parts[3:])), strict=True):
        torch.testing.assert_close(p, e, rtol=1e-9, atol=1e-12)
