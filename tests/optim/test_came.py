"""CAME against its formula and pytorch_optimizer; blocks, slices, state."""

from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim.came import CAME
from ultra_optim.reference.factored import came
from ultra_optim.testing.subject import drive, error, gradients

SHAPES = ((7,), (4, 9), (9, 4), (5, 5))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
OPTIONS = {"lr": 0.003, "weight_decay": 0.1, "betas": (0.9, 0.99, 0.995)}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype) -> None:
    assert follow(partial(CAME, **OPTIONS), partial(came, **OPTIONS), SHAPES, dtype=dtype) < TOLERANCE[dtype]


def test_against_pytorch_optimizer(follow: Callable[..., float]) -> None:
    theirs = partial(pytorch_optimizer.CAME, **OPTIONS)
    assert follow(partial(CAME, **OPTIONS), theirs, SHAPES, formula=False) < 1e-10


def step(group: dict, g: Tensor) -> Tensor:
    p = nn.Parameter(torch.zeros_like(g))
    drive(CAME([{"params": [p], **group}], lr=1.0), [p], [[g], [g.flip(0)]])
    return p.detach()


def test_row_blocks_are_matrices_of_their_own() -> None:
    g = gradients([torch.empty(12, 5)], 1)[0][0] * torch.linspace(0.1, 10, 12)[:, None]
    p = nn.Parameter(torch.zeros(12, 5))
    group = {"params": [p], "kind": "matrix", "row_blocks": [[4, 8]], "expert_dim": [None]}
    drive(CAME([group], lr=1.0), [p], [[g]])
    parts = [nn.Parameter(torch.zeros(h, 5)) for h in (4, 8)]
    drive(CAME(parts, lr=1.0), parts, [list(g.split([4, 8]))])
    assert error(p.detach(), torch.cat(parts).detach()) < 1e-5


def test_large_matrices_are_taken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultra_optim.engine import sizes

    g = gradients([torch.empty(30, 7)], 1)[0][0]
    whole = step({}, g)
    monkeypatch.setattr(sizes, "PIECE", 60)
    assert error(step({}, g), whole) < 1e-5


def test_state_of_a_matrix() -> None:
    p = nn.Parameter(torch.ones(30, 20))
    optimizer = CAME([p])
    drive(optimizer, [p], [[torch.ones(30, 20)]])
    kept = sum(x.numel() for x in optimizer.state[p].values() if isinstance(x, Tensor))
    assert kept == 30 * 20 + 2 * (30 + 20)


def test_instability_slows_down() -> None:
    """Where gradients change sign the step is smaller than where they agree: the term Adafactor lacks."""
    p = nn.Parameter(torch.zeros(4, 6))
    steady, noisy = torch.ones(4, 6), torch.ones(4, 6)
    optimizer = CAME([p], lr=1e-3, betas=(0.9, 0.9, 0.9))
    for t in range(60):
        signs = torch.where(torch.arange(6) < 3, 1.0, 1.0 if t % 3 else -1.0)
        drive(optimizer, [p], [[torch.where(signs > 0, steady, -noisy)]])
    before = p.detach().clone()
    drive(optimizer, [p], [[torch.ones(4, 6)]])
    moved = (p.detach() - before).abs().mean(0)
    momentum = optimizer.state[p]["exp_avg"].view(4, 6).abs().mean(0)
    ratio = moved / momentum
    assert float(ratio[:3].min()) > 1.5 * float(ratio[3:].max())
