"""SOAP: against its formula and pytorch_optimizer, the skipped step, the change of basis, long sides."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.reference.preconditioned import soap
from ultra_optim.soap import SOAP
from ultra_optim.testing.subject import Bag, drive, error, gradients

SHAPES = ((4, 6), (6, 4), (5, 5))
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "shampoo_beta": 0.9, "precondition_frequency": 4}


def make(params: list[Tensor], **options: object) -> SOAP:
    return SOAP([{"params": params, "kind": "matrix"}], **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype) -> None:
    """Square matrices: the first L or R of others lacks rank, its eigenvectors hang on the rounding."""
    options = OPTIONS | {"weight_decay": 0.1}
    worst = follow(partial(make, **options), partial(soap, **options), ((5, 5), (6, 6)), dtype=dtype)
    assert worst < {torch.float64: 1e-8, torch.float32: 1e-3}[dtype]


def test_against_pytorch_optimizer(follow: Callable[..., float]) -> None:
    """Its preconditioner is float32 throughout, its eps is added before the bias correction.

    The long side of a rectangle is not rotated: after one gradient its eigenvectors hang on the rounding.
    """
    common = OPTIONS | {"eps": 1e-14, "weight_decay": 0.0}
    for shape in SHAPES:
        ours = partial(make, **common, max_precond_dim=5)
        theirs = partial(pytorch_optimizer.SOAP, **common, max_precondition_dim=5)
        assert follow(ours, theirs, (shape,), formula=False, steps=12) < 1e-6


def test_the_first_step_moves_nothing_and_sets_up_the_basis() -> None:
    p = nn.Parameter(torch.ones(6, 4))
    optimizer = make([p], lr=0.1)
    (g,) = gradients([p], 1)[0]
    drive(optimizer, [p], [[g]])
    assert torch.equal(p.detach(), torch.ones(6, 4))
    basis = optimizer.state[p]["right_basis"].view(4, 4)
    rotated = basis.T @ g.T @ g @ basis
    assert error(rotated, torch.diag(torch.linalg.svdvals(g).square())) < 1e-5


def test_in_a_fixed_eigenbasis_it_is_adam() -> None:
    """Diagonal gradients have the unit vectors as eigenvectors, and there the rotation does nothing."""
    p, q = nn.Parameter(torch.zeros(5, 5).double()), nn.Parameter(torch.zeros(5, 5).double())
    scales = [torch.diag(torch.tensor([5.0, 4, 3, 2, 1]).double() * (1 + 0.1 * t)) for t in range(8)]
    drive(make([p], lr=0.01, betas=(0.9, 0.95), weight_decay=0.0), [p], [[g] for g in scales])
    adam = torch.optim.Adam([q], lr=0.01, betas=(0.9, 0.95))
    drive(adam, [q], [[g] for g in scales[1:]])
    assert error(p.detach().diagonal(), q.detach().diagonal()) < 1e-6


def test_the_change_of_basis_leaves_the_momentum_where_it_was() -> None:
    p = nn.Parameter(torch.zeros(6, 4).double())
    optimizer = make([p], precondition_frequency=3)
    momentum = torch.zeros(6, 4).double()
    for t, grads in enumerate(gradients([p], 8)):
        drive(optimizer, [p], [grads])
        momentum = momentum if t == 0 else 0.95 * momentum + 0.05 * grads[0]
        state = optimizer.state[p]
        left, right = state["left_basis"].view(6, 6), state["right_basis"].view(4, 4)
        assert error(left @ left.T, torch.eye(6).double()) < 1e-10
        if t > 0:
            assert error(left @ state["rotated_avg"].view(6, 4) @ right.T, momentum) < 1e-10


def test_the_size_of_the_gradient_does_not_matter() -> None:
    def run(scale: float) -> Tensor:
        p = nn.Parameter(torch.zeros(5, 5).double())
        drive(make([p], precondition_frequency=2), [p], gradients([p], 8, scale=scale))
        return p.detach()

    assert error(run(1e4), run(10.0)) < 1e-6


def test_long_sides_are_not_rotated() -> None:
    p, wide = nn.Parameter(torch.zeros(6, 4)), nn.Parameter(torch.zeros(6, 7))
    optimizer = make([p, wide], max_precond_dim=5, precondition_frequency=2, weight_decay=0.0)
    drive(optimizer, [p, wide], gradients([p, wide], 6))
    sizes = {k: v.numel() for k, v in optimizer.state[p].items() if isinstance(v, Tensor)}
    expected = {"rotated_avg": 24, "rotated_avg_sq": 24, "right": 16, "right_basis": 16}
    assert sizes == expected | {"left": 0, "left_basis": 0}
    q = nn.Parameter(torch.zeros(6, 7))
    adam = torch.optim.Adam([q], lr=3e-3, betas=(0.95, 0.95))
    drive(adam, [q], [[g[1]] for g in gradients([p, wide], 6)[1:]])
    assert error(wide.detach(), q.detach()) < 1e-5


def test_resumes_half_way_between_two_changes_of_the_basis() -> None:
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((6, 4), (4, 6), (5,))]
    steps = gradients(start, 14)
    whole, first, second = (Bag([t.clone() for t in start]) for _ in range(3))
    options = {"precondition_frequency": 5, "lr": 0.1}
    drive(build("soap", whole, **options), whole.tensors(), steps)
    optimizer = build("soap", first, **options)
    drive(optimizer, first.tensors(), steps[:8])
    second.load_state_dict(first.state_dict())
    resumed = build("soap", second, **options)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(resumed, second.tensors(), steps[8:])
    for a, b in zip(whole.tensors(), second.tensors(), strict=True):
        assert torch.equal(a, b)


def test_both_parts_have_betas_of_their_own() -> None:
    bag = Bag([torch.ones(4, 6), torch.ones(5)])
    betas = {g["kind"]: g["betas"] for g in build("soap", bag).param_groups}
    assert betas == {"matrix": (0.95, 0.95), "vector": (0.9, 0.95)}
    roles = {"other": {"betas": (0.5, 0.6)}}
    assert {g["betas"] for g in build("soap", bag, roles=roles).param_groups} == {(0.5, 0.6)}
