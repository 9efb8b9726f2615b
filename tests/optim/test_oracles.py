"""Twenty steps with fixed gradients against torch, pytorch_optimizer and the formulas in ``reference``."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from support.optimizers import drive
from support.tensors import normals
from ultra_optim import LAMB, AdamW, Lion, Muon, SGDMomentum
from ultra_optim.families.orthogonal import orthogonalize
from ultra_optim.reference import formulas
from ultra_optim.reference.muon import muon, newton_schulz, polar

SHAPES = ((7,), (4, 9), (9, 4), (5, 5), (2, 3, 4))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
Reference = Callable[..., Tensor]


def parameters(shapes: Any, dtype: torch.dtype) -> list[Tensor]:
    return [t.requires_grad_() for t in normals(shapes, 0, dtype)]


def by_formula(
    formula: Reference, shapes: Any, dtype: torch.dtype, options: Any, steps: int = 20
) -> list[Tensor]:
    params, states = normals(shapes, 0, dtype), [{} for _ in shapes]
    for step in range(steps):
        grads = normals(shapes, step + 1, dtype)
        params = [formula(p, g, s, **options) for p, g, s in zip(params, grads, states, strict=True)]
    return params


def assert_close(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert float((a - e).detach().abs().max() / e.detach().abs().max()) < tolerance


ADAM = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}
LION = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("cls", "formula", "options"),
    [
        (AdamW, formulas.adamw, ADAM),
        (Lion, formulas.lion, LION),
        (SGDMomentum, formulas.sgd_momentum, SGD),
        (SGDMomentum, formulas.sgd_momentum, SGD | {"nesterov": False}),
    ],
    ids=["adamw", "lion", "sgd-nesterov", "sgd"],
)
def test_against_the_formula(cls: Any, formula: Reference, options: Any, dtype: torch.dtype) -> None:
    params = parameters(SHAPES, dtype)
    drive(cls(params, **options), params)
    assert_close(params, by_formula(formula, SHAPES, dtype, options), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("cls", "oracle", "options"),
    [
        (AdamW, torch.optim.AdamW, ADAM),
        (AdamW, torch.optim.AdamW, ADAM | {"amsgrad": True}),
        (SGDMomentum, torch.optim.SGD, SGD),
        (Lion, pytorch_optimizer.Lion, LION),
    ],
    ids=["adamw", "amsgrad", "sgd", "lion"],
)
def test_against_other_libraries(cls: Any, oracle: Any, options: Any, dtype: torch.dtype) -> None:
    ours, theirs = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    drive(cls(ours, **options), ours)
    drive(oracle(theirs, **options), theirs)
    assert_close(ours, theirs, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_lamb_against_the_formula(dtype: torch.dtype) -> None:
    shapes = ((4, 9), (9, 4), (2, 3, 4))
    options = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}
    params = parameters(shapes, dtype)
    drive(LAMB(params, **options), params)
    assert_close(params, by_formula(formulas.lamb, shapes, dtype, options), TOLERANCE[dtype])
    vectors = parameters(((7,), ()), dtype)
    drive(LAMB(vectors, **options), vectors)
    expected = by_formula(formulas.lamb, ((7,), ()), dtype, options | {"adapt": False})
    assert_close(vectors, expected, TOLERANCE[dtype])


def test_lamb_against_pytorch_optimizer() -> None:
    """Its LAMB clips |p| at 10, adds no decay to the direction and omits the second bias correction,
    which the trust ratio cancels where eps is negligible; ``adam_debias`` undoes its own first one."""
    shapes = ((4, 9), (9, 4))
    ours, theirs = parameters(shapes, torch.float64), parameters(shapes, torch.float64)
    drive(LAMB(ours, lr=0.01, eps=1e-14, weight_decay=0.0), ours)
    oracle = pytorch_optimizer.Lamb(theirs, lr=0.01, eps=1e-14, weight_decay=0.0, adam_debias=True)
    drive(oracle, theirs)
    assert_close(ours, theirs, 1e-9)


MATRICES = ((4, 9), (9, 4), (5, 5), (8, 3))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("adjust_lr_fn", ["match_rms_adamw", "original", "spectral"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_against_the_formula(dtype: torch.dtype, adjust_lr_fn: str, nesterov: bool) -> None:
    options = {"lr": 0.01, "weight_decay": 0.1, "adjust_lr_fn": adjust_lr_fn, "nesterov": nesterov}
    params = parameters(MATRICES, dtype)
    drive(Muon([{"params": params, "kind": "matrix"}], **options), params)
    tolerance = {torch.float64: 1e-8, torch.float32: 1e-4}[dtype]
    assert_close(params, by_formula(muon, MATRICES, dtype, options), tolerance)


@pytest.mark.parametrize("adjust_lr_fn", ["match_rms_adamw", "original"])
def test_muon_against_torch(adjust_lr_fn: str) -> None:
    """torch iterates in bfloat16 everywhere, hence the tolerance for a single step."""
    ours, theirs = parameters(MATRICES, torch.float32), parameters(MATRICES, torch.float32)
    options = {"lr": 0.1, "weight_decay": 0.1, "adjust_lr_fn": adjust_lr_fn}
    drive(Muon([{"params": ours, "kind": "matrix"}], **options), ours, 1)
    drive(torch.optim.Muon(theirs, **options), theirs, 1)
    assert_close(ours, theirs, 2e-2)


def test_muon_against_pytorch_optimizer() -> None:
    ours, theirs = parameters(MATRICES, torch.float32), parameters(MATRICES, torch.float32)
    drive(Muon([{"params": ours, "kind": "matrix"}], lr=0.1, weight_decay=0.1), ours, 1)
    group = {"params": theirs, "use_muon": True}
    drive(pytorch_optimizer.Muon([group], lr=0.1, weight_decay=0.1, use_adjusted_lr=True), theirs, 1)
    assert_close(ours, theirs, 2e-2)


def test_the_adamw_part_of_muon_is_adamw() -> None:
    ours, theirs = parameters(SHAPES, torch.float64), parameters(SHAPES, torch.float64)
    options = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.1}
    drive(Muon([{"params": ours, "kind": "vector"}], **options), ours)
    drive(torch.optim.AdamW(theirs, **options), theirs)
    assert_close(ours, theirs, 1e-10)


def test_newton_schulz_approaches_the_polar_factor() -> None:
    (g,) = normals(((16, 48),), 3, torch.float64)
    x = orthogonalize(g[None], steps=5)[0]
    assert_close([x], [newton_schulz(g)], 1e-8)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    assert_close([u @ vh], [polar(g)], 1e-9)
    assert float(s.min()) > 0.65
    assert float(s.max()) < 1.25
