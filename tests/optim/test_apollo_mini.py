"""APOLLO-Mini: against its formula, one scale a tensor, what it keeps, resume half-way.

Against pytorch_optimizer's it is in ``test_apollo.py``, where the terms that differ are added.
"""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.apollo_mini import APOLLOMini
from ultra_optim.engine.seeded_random import normal
from ultra_optim.reference.low_rank import apollo
from ultra_optim.testing.subject import Bag, drive, error, gradients

SHAPES = ((4, 9), (9, 4), (5, 5), (8, 3))
COMMON = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}


def make(params: list[Tensor], **options: object) -> APOLLOMini:
    return APOLLOMini([{"params": params, "kind": "matrix"}], **options)


def test_against_the_formula(follow: Callable[..., float]) -> None:
    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        def projections(t: int) -> Tensor:
            return normal((min(p.shape), 1), 7, (t - 1) // 6, like=p)

        return apollo(p, g, state, projections=projections, **COMMON, scale=128.0, scale_type="tensor")

    assert follow(partial(make, **COMMON, update_interval=6, seed=7), formula, SHAPES) < 1e-10


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_the_update_is_the_gradient_with_one_scale(shape: tuple[int, int]) -> None:
    p = nn.Parameter(torch.zeros(shape))
    (g,) = gradients([p], 1)[0]
    drive(make([p], lr=1.0), [p], [[g]])
    ratio = p.detach() / g
    assert error(ratio, torch.full(shape, float(ratio[0, 0]))) < 1e-5


def test_it_moves_as_far_as_adam_where_the_shorter_side_is_128() -> None:
    p = nn.Parameter(torch.zeros(300, 128))
    drive(make([p], lr=1.0), [p], gradients([p], 1))
    assert float(p.detach().square().mean().sqrt()) == pytest.approx(1.0, rel=0.15)


def test_resumes_half_way_between_two_draws() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (4, 6), (5,))]
    steps = gradients(start, 12)
    whole, first, second = (Bag([t.clone() for t in start]) for _ in range(3))
    options = {"update_interval": 4, "lr": 0.1, "seed": 3}
    drive(build("apollo_mini", whole, **options), whole.tensors(), steps)
    optimizer = build("apollo_mini", first, **options)
    drive(optimizer, first.tensors(), steps[:6])
    second.load_state_dict(first.state_dict())
    resumed = build("apollo_mini", second, **{**options, "seed": 4})
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(resumed, second.tensors(), steps[6:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)


def test_state_of_a_matrix() -> None:
    p = nn.Parameter(torch.zeros(30, 20))
    optimizer = make([p])
    drive(optimizer, [p], gradients([p], 1))
    assert sum(v.numel() for v in optimizer.state[p].values() if isinstance(v, Tensor)) == 2 * 30 + 1
