"""PSGD Kron: against its formula and pytorch_optimizer, draws, schedule of updates, balance."""

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import build, psgd_kron
from ultra_optim.engine.seeded_random import normal
from ultra_optim.psgd_kron import PSGDKron, balance_, spectral_bound, updates_until
from ultra_optim.reference.preconditioned import kron
from ultra_optim.testing.subject import Bag, drive, gradients

SHAPES = ((4, 6), (6, 4), (5, 5))
OPTIONS = {"lr": 0.01, "momentum": 0.9, "precond_lr": 0.1, "weight_decay": 0.1}


def make(params: list[Tensor], **options: object) -> PSGDKron:
    return PSGDKron([{"params": params, "kind": "matrix"}], **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype, tolerance: float) -> None:
    def formula(p: Tensor, g: Tensor, state: dict) -> Tensor:
        return kron(p, g, state, noise=lambda t: normal(p.shape, 3, t, like=p), **OPTIONS)

    assert follow(partial(make, seed=3, **OPTIONS), formula, SHAPES, dtype=dtype) < tolerance


def test_against_pytorch_optimizer(follow: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same noise; its damping, 3e-4 of the momentum, reaches the step."""
    monkeypatch.setattr(torch, "randn_like", lambda t, **_: torch.ones_like(t) + torch.eye(*t.shape))
    monkeypatch.setattr(
        psgd_kron, "normal", lambda shape, *_, like: torch.ones(shape, dtype=like.dtype) + torch.eye(*shape)
    )
    common = {"lr": 0.01, "momentum": 0.9}
    theirs = partial(
        pytorch_optimizer.Kron, **common, precondition_dtype=torch.float64, balance_prob=0.0,
        pre_conditioner_update_probability=1.0,
    )  # fmt: skip
    assert follow(partial(make, **common), theirs, SHAPES, formula=False, steps=15) < 1e-3


def test_draws_depend_on_the_key_alone() -> None:
    like = torch.empty(0)
    one = normal((3, 4), 1, 2, like=like)
    torch.rand(5)
    assert torch.equal(normal((3, 4), 1, 2, like=like), one)
    assert not torch.equal(normal((3, 4), 1, 3, like=like), one)
    assert not torch.equal(normal((3, 4), 12, like=like), one)
    many = normal((300, 300), 0, like=like)
    assert abs(float(many.mean())) < 0.02
    assert abs(float(many.std()) - 1) < 0.02


def test_the_seed_decides() -> None:
    def run(seed: int) -> Tensor:
        p = nn.Parameter(torch.zeros(5, 4))
        drive(make([p], seed=seed, lr=0.1), [p], gradients([p], 5))
        return p.detach()

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_neither_the_global_generator_nor_company_matters() -> None:
    def run(company: bool) -> Tensor:
        p, q = nn.Parameter(torch.zeros(5, 4)), nn.Parameter(torch.zeros(6, 3))
        torch.manual_seed(int(company))
        steps = gradients([p, q], 5)
        tensors = [p, q] if company else [p]
        drive(make(tensors, lr=0.1), tensors, [s[: len(tensors)] for s in steps])
        return p.detach()

    before = torch.random.get_rng_state()
    assert torch.equal(run(False), run(True))
    torch.random.set_rng_state(before)
    run_state = torch.random.get_rng_state()
    make([nn.Parameter(torch.zeros(2, 2))]).step()
    assert torch.equal(torch.random.get_rng_state(), run_state)


def test_number_of_updates() -> None:
    """The sum of the probabilities that kron_torch's schedule gives, rounded down."""
    total = 0.0
    for step in range(1, 6000):
        total += min(1.0, max(0.03, math.exp(-0.001 * max(0, step - 500))))
        assert abs(updates_until(step, 500, 0.001, 0.03) - total) < 1.1
    assert updates_until(500, 500, 0.001, 0.03) == 500
    assert updates_until(7, 0, 0.001, 1.0) == 7


def test_the_factors_rest_between_updates() -> None:
    p = nn.Parameter(torch.zeros(5, 4))
    optimizer = make([p], anneal_start=2, anneal_decay=10.0, min_update_probability=0.25)
    seen = [torch.eye(5).flatten()]
    for grads in gradients([p], 13):
        drive(optimizer, [p], [grads])
        seen.append(optimizer.state[p]["left"].clone())
    changed = [i for i in range(1, 14) if not torch.equal(seen[i], seen[i - 1])]
    assert changed == [1, 2, 6, 10]


def test_resumes_between_updates() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (4, 6), (5,))]
    steps = gradients(start, 14)
    whole, first, second = (Bag([t.clone() for t in start]) for _ in range(3))
    options = {"anneal_start": 3, "anneal_decay": 0.5, "min_update_probability": 0.3, "lr": 0.1, "seed": 5}
    drive(build("psgd_kron", whole, **options), whole.tensors(), steps)
    optimizer = build("psgd_kron", first, **options)
    drive(optimizer, first.tensors(), steps[:8])
    second.load_state_dict(first.state_dict())
    resumed = build("psgd_kron", second, **{**options, "seed": 6})
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    torch.manual_seed(99)
    drive(resumed, second.tensors(), steps[8:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)


def test_the_preconditioner_whitens() -> None:
    """Gradients of covariance A (x) B come out nearly white."""
    generator = torch.Generator().manual_seed(0)
    left = torch.diag(torch.tensor([10.0, 3.0, 1.0, 0.3, 0.1]))
    p = nn.Parameter(torch.zeros(5, 4))
    optimizer = make([p], lr=0.0, momentum=0.0)
    drive(optimizer, [p], [[left @ torch.randn(5, 4, generator=generator)] for _ in range(400)])
    q_l, q_r = optimizer.state[p]["left"].view(5, 5), optimizer.state[p]["right"].view(4, 4)
    rows = torch.stack(
        [
            (q_l.T @ q_l @ left @ torch.randn(5, 4, generator=generator) @ q_r.T @ q_r).norm(dim=1)
            for _ in range(200)
        ]
    ).mean(0)
    assert float(rows.max() / rows.min()) < 3.0, "it is 100 without"


def test_balance_and_the_bound_of_the_spectral_norm() -> None:
    left, right = torch.rand(2, 3, 3) * 100, torch.rand(2, 4)
    product = left.amax((1, 2)) * right.amax(1)
    balance_(left, right)
    torch.testing.assert_close(left.amax((1, 2)), right.amax(1))
    torch.testing.assert_close(left.amax((1, 2)) * right.amax(1), product)
    x = gradients([torch.empty(3, 6, 6)], 1)[0][0]
    x = x @ x.mT
    ratio = spectral_bound(x).flatten() / torch.linalg.matrix_norm(x, 2)
    assert float(ratio.max()) <= 1 + 1e-5
    assert float(ratio.min()) > 0.5
    assert float(spectral_bound(torch.zeros(1, 3, 3))) == 0.0


def test_a_long_side_has_a_diagonal_factor() -> None:
    p = nn.Parameter(torch.zeros(4, 7))
    optimizer = make([p], max_size_triangular=5, lr=0.1)
    drive(optimizer, [p], gradients([p], 10))
    sizes = {k: v.numel() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
    assert sizes == {"momentum_buffer": 28, "left": 16, "right": 7}
    assert float(optimizer.state[p]["right"].std()) > 0
