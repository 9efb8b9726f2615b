"""Shampoo: against its formula and pytorch_optimizer, roots, grafting, blocks, schedule of the roots."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim.reference.muon import polar
from ultra_optim.reference.preconditioned import shampoo
from ultra_optim.shampoo import Shampoo, inverse_fourth_root
from ultra_optim.testing.subject import drive, error, gradients

SHAPES = ((4, 6), (6, 4), (5, 5))
OPTIONS = {
    "lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "shampoo_beta": 0.9, "matrix_eps": 1e-6,
    "precondition_frequency": 4, "start_preconditioning_step": 3, "weight_decay": 0.1,
}  # fmt: skip


def make(params: list[Tensor], **options: object) -> Shampoo:
    return Shampoo([{"params": params, "kind": "matrix"}], **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
@pytest.mark.parametrize("grafting", ["adam", "none"])
@pytest.mark.parametrize("shampoo_beta", [0.9, 1.0])
def test_against_the_formula(
    follow: Callable[..., float], dtype: torch.dtype, tolerance: float, grafting: str, shampoo_beta: float
) -> None:
    options = OPTIONS | {"grafting": grafting, "shampoo_beta": shampoo_beta}
    worst = follow(partial(make, **options), partial(shampoo, **options), SHAPES, dtype=dtype)
    assert worst < tolerance


def test_against_pytorch_optimizer(follow: Callable[..., float]) -> None:
    """Its Shampoo is the first paper's: sums, no momentum, no grafting, roots at each step; it adds its
    matrix_eps once, to the first L, and takes roots by eigenvalues in float32."""
    ours = partial(
        make, lr=0.01, betas=(0.0, 0.9), shampoo_beta=1.0, matrix_eps=1e-12, grafting="none",
        start_preconditioning_step=1, precondition_frequency=1,
    )  # fmt: skip
    theirs = partial(pytorch_optimizer.Shampoo, lr=0.01, matrix_eps=1e-12)
    assert follow(ours, theirs, ((5, 5),), formula=False) < 1e-4


def test_a_single_gradient_becomes_its_polar_factor() -> None:
    """(G G^T)^(-1/4) G (G^T G)^(-1/4) = U V^T."""
    p = nn.Parameter(torch.zeros(6, 4).double())
    options = {"grafting": "none", "start_preconditioning_step": 1, "lr": 1.0, "matrix_eps": 1e-12}
    (g,) = gradients([p], 1)[0]
    drive(make([p], **options), [p], [[g]])
    assert error(p.detach(), -polar(g)) < 1e-8


def test_grafting_gives_adams_length() -> None:
    p, q = nn.Parameter(torch.zeros(6, 4).double()), nn.Parameter(torch.zeros(6, 4).double())
    steps = gradients([p], 12)
    drive(make([p], lr=1.0), [p], steps[:11])
    drive(torch.optim.Adam([q], lr=1.0), [q], steps[:11])
    # the same moments from the same gradients, so that only the direction differs
    ours, adam = make([p], lr=1.0), torch.optim.Adam([q], lr=1.0)
    lengths, cosines = [], []
    for optimizer, tensor in ((ours, p), (adam, q)):
        moved = []
        for grads in steps:
            before = tensor.detach().clone()
            drive(optimizer, [tensor], [grads])
            moved.append(tensor.detach() - before)
        lengths.append(torch.stack([m.norm() for m in moved]))
        cosines.append(torch.stack([m.flatten() for m in moved]))
    assert error(lengths[0], lengths[1]) < 1e-9
    likeness = torch.cosine_similarity(*cosines, dim=1)
    assert float(likeness[:9].min()) > 1 - 1e-9, "before start_preconditioning_step it is Adam"
    assert float(likeness[9:].max()) < 0.99


def test_inverse_fourth_root() -> None:
    x = gradients([torch.empty(2, 6, 6).double()], 1)[0][0]
    x = x @ x.mT
    root = inverse_fourth_root(x, 1e-14)
    assert error(root @ root @ root @ root @ x, torch.eye(6).double().expand(2, 6, 6)) < 1e-6
    assert float(inverse_fourth_root(torch.zeros(1, 3, 3), 1e-6).abs().max()) == 0.0
    assert torch.isfinite(inverse_fourth_root(torch.ones(1, 3, 3) * 1e-30, 1e-6)).all()


def test_large_matrices_are_cut_into_equal_blocks() -> None:
    p = nn.Parameter(torch.zeros(7, 10))
    options = {"lr": 1.0, "start_preconditioning_step": 1}
    (g,) = gradients([p], 1)[0]
    optimizer = make([p], max_preconditioner_dim=5, **options)
    drive(optimizer, [p], [[g]])
    blocks = [b for rows in g.split([4, 3]) for b in rows.split(5, 1)]
    parts = [nn.Parameter(torch.zeros_like(b)) for b in blocks]
    drive(make(parts, **options), parts, [[b.clone() for b in blocks]])
    a, b, c, d = (part.detach() for part in parts)
    assert error(p.detach(), torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])) < 1e-5
    kept = sum(v.numel() for v in optimizer.state[p].values() if isinstance(v, Tensor))
    assert kept == 2 * 70 + 2 * (2 * (16 + 25) + 2 * (9 + 25))


def test_roots_are_taken_when_they_should() -> None:
    p = nn.Parameter(torch.zeros(6, 4))
    optimizer = make([p], start_preconditioning_step=3, precondition_frequency=4)
    seen = [torch.zeros(36)]
    for grads in gradients([p], 12):
        drive(optimizer, [p], [grads])
        seen.append(optimizer.state[p]["left_root"].clone())
    assert [i for i in range(1, 13) if not torch.equal(seen[i], seen[i - 1])] == [3, 7, 11]


def test_a_resumed_run_takes_its_later_roots_as_the_whole_one_does() -> None:
    """Saved between two refreshes, over the next two."""

    def fresh() -> tuple[nn.Parameter, Shampoo]:
        p = nn.Parameter(torch.zeros(6, 4))
        return p, make([p], start_preconditioning_step=3, precondition_frequency=4)

    (whole, first), (resumed, second) = fresh(), fresh()
    steps = gradients([whole], 12)
    drive(first, [whole], steps[:5])
    state = copy.deepcopy(first.state_dict())
    with torch.no_grad():
        resumed.copy_(whole)
    second.load_state_dict(state)
    changes = 0
    for grads in steps[5:]:
        before = second.state[resumed]["left_root"].clone()
        drive(first, [whole], [grads])
        drive(second, [resumed], [grads])
        changes += not torch.equal(before, second.state[resumed]["left_root"])
        assert torch.equal(whole, resumed)
        for name, value in first.state[whole].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second.state[resumed][name])), name
    assert changes == 2
