"""GaLore: against its formula and pytorch_optimizer, side, scale, refresh, resume half-way."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.galore_adamw import GaLoreAdamW, singular_vectors
from ultra_optim.reference.low_rank import galore
from ultra_optim.testing.subject import Bag, drive, error, gradients

SHAPES = ((4, 9), (9, 4), (5, 5), (8, 3))
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1, "rank": 3, "scale": 0.5}


def make(params: list[Tensor], **options: object) -> GaLoreAdamW:
    return GaLoreAdamW([{"params": params, "kind": "matrix"}], **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize("interval", [1, 7, 50])
def test_against_the_formula(
    follow: Callable[..., float], dtype: torch.dtype, tolerance: float, interval: int
) -> None:
    options = OPTIONS | {"update_interval": interval}
    worst = follow(partial(make, **options), partial(galore, **options), SHAPES, dtype=dtype)
    assert worst < tolerance


def test_against_pytorch_optimizer(follow: Callable[..., float]) -> None:
    """Its signs of singular vectors are LAPACK's, so that only one interval can be compared; its
    decomposition is in float32 and its eps is added before the bias correction."""
    galore_keys = {"rank": 3, "update_proj_gap": 50, "scale": 0.5, "projection_type": "std"}
    common = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-14}

    def theirs(params: list[Tensor]) -> torch.optim.Optimizer:
        return pytorch_optimizer.GaLore([{"params": params, **galore_keys}], **common)

    ours = partial(make, **common, rank=3, update_interval=50, scale=0.5)
    assert follow(ours, theirs, SHAPES, formula=False) < 1e-6


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_the_shorter_side_is_projected(shape: tuple[int, int]) -> None:
    p = nn.Parameter(torch.zeros(shape))
    optimizer = make([p], rank=2)
    drive(optimizer, [p], gradients([p], 1))
    sizes = {k: v.numel() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
    assert sizes == {"projector": 5 * 2, "low_avg": 12 * 2, "low_avg_sq": 12 * 2}
    assert int(torch.linalg.matrix_rank(p.detach())) == 2


def test_full_rank_and_scale_one_is_adam_in_a_rotated_basis() -> None:
    p = nn.Parameter(torch.zeros(6, 4))
    (g,) = gradients([p], 1)[0]
    drive(make([p], rank=9, scale=1.0, lr=1.0), [p], [[g]])
    v = torch.linalg.svd(g).Vh.T
    assert error(p.detach() @ v, -torch.sign(g @ v)) < 1e-4


@pytest.mark.parametrize("interval", [1, 3, 4])
def test_the_projection_is_renewed_when_it_should(interval: int) -> None:
    p = nn.Parameter(torch.zeros(6, 4))
    optimizer = make([p], rank=2, update_interval=interval)
    seen = []
    for grads in gradients([p], 9):
        drive(optimizer, [p], [grads])
        seen.append(optimizer.state[p]["projector"].clone())
    changed = [i for i in range(1, 9) if not torch.equal(seen[i], seen[i - 1])]
    assert changed == [i for i in range(1, 9) if i % interval == 0]


def test_signs_follow_the_previous_projection() -> None:
    g = gradients([torch.empty(1, 9, 6)], 1)[0][0]
    first = singular_vectors(g, torch.zeros(1, 6, 3))
    assert error(first.abs()[0], torch.linalg.svd(g[0]).Vh[:3].T.abs()) < 1e-5
    flipped = singular_vectors(g, -first)
    assert torch.equal(flipped, -first)


def test_resumes_half_way_between_two_projections() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (4, 6), (5,))]
    steps = gradients(start, 12)

    def bag() -> Bag:
        return Bag([t.clone() for t in start])

    options = {"rank": 2, "update_interval": 4, "lr": 0.1}
    whole, first, second = bag(), bag(), bag()
    drive(build("galore_adamw", whole, **options), whole.tensors(), steps)
    optimizer = build("galore_adamw", first, **options)
    drive(optimizer, first.tensors(), steps[:6])
    second.load_state_dict(first.state_dict())
    resumed = build("galore_adamw", second, **options)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(resumed, second.tensors(), steps[6:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)


def test_long_matrices_and_everything_else_take_adamw() -> None:
    bag = Bag([torch.ones(4, 6), torch.ones(4, 9), torch.ones(5)])
    optimizer = build("galore_adamw", bag, max_dim=8, lr=0.01)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 3))
    low, long, vector = (optimizer.state[p].keys() for p in bag.tensors())
    assert low == {"step", "projector", "low_avg", "low_avg_sq"}
    assert long == vector == {"exp_avg", "exp_avg_sq", "adam_step"}
    again = build("galore_adamw", bag, max_dim=8, lr=0.01)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
