"""Muon's relatives against their formulas and pytorch_optimizer, and what each is for."""

import math
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ultra_optim import AdaMuon, MARSMuon, Muon, NorMuon, Scion, TurboMuon, build
from ultra_optim.orthogonal import ALMOST_ORTHOGONAL, orthogonalize
from ultra_optim.reference import muon as reference

SHAPES = ((6, 10), (10, 6), (8, 8))
DOUBLE, SINGLE = (torch.float64, 1e-9), (torch.float32, 2e-5)


def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def run(cls: Any, shape: tuple[int, ...], dtype: torch.dtype, steps: int = 12, **options: Any) -> Tensor:
    """Move a matrix along fixed gradients; return where it ends."""
    p = nn.Parameter(draw(shape, 0, dtype))
    optimizer = cls([{"params": [p], "kind": "matrix"}], **options)
    for step in range(1, steps + 1):
        p.grad = draw(shape, step, dtype)
        optimizer.step()
    return p.detach().double()


def rms_scale(shape: tuple[int, ...]) -> float:
    return 0.2 * math.sqrt(max(shape))


def momentum_of(shape: tuple[int, ...], steps: int, mu: float, nesterov: bool) -> list[Tensor]:
    b, found = torch.zeros(shape, dtype=torch.float64), []
    for step in range(1, steps + 1):
        g = draw(shape, step)
        b = mu * b + (1 - mu) * g
        found.append(mu * b + (1 - mu) * g if nesterov else b)
    return found


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert float((actual - expected).abs().max() / expected.abs().max()) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [DOUBLE, SINGLE], ids=["fp64", "fp32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_turbo_muon(shape: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    p = draw(shape, 0)
    for d in momentum_of(shape, 12, 0.95, nesterov=True):
        p = (1 - 0.02 * 0.1) * p - 0.02 * rms_scale(shape) * reference.turbo(d)
    assert_close(run(TurboMuon, shape, dtype, lr=0.02, weight_decay=0.1), p, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [DOUBLE, SINGLE], ids=["fp64", "fp32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_normuon(shape: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    p, v = draw(shape, 0), torch.zeros(shape[0], dtype=torch.float64)
    for d in momentum_of(shape, 12, 0.95, nesterov=True):
        o = rms_scale(shape) * reference.newton_schulz(d)
        direction, v = reference.normuon(o, v, 0.9)
        p = (1 - 0.02 * 0.1) * p - 0.02 * direction
    assert_close(run(NorMuon, shape, dtype, lr=0.02, weight_decay=0.1, beta2=0.9), p, tolerance)


@pytest.mark.parametrize("sign", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_adamuon(shape: tuple[int, int], sign: bool) -> None:
    p, v = draw(shape, 0), torch.zeros(shape, dtype=torch.float64)
    for t, d in enumerate(momentum_of(shape, 12, 0.9, nesterov=True), 1):
        o = reference.newton_schulz(torch.sign(d) if sign else d)
        o = o * math.sqrt(shape[0] / shape[1])  # any factor of a matrix is taken out by its norm
        direction, v = reference.adamuon(o, v, 0.95, t, 1e-30)
        p = (1 - 0.02 * 0.1) * p - 0.02 * direction
    options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "eps": 1e-30, "sign": sign}
    assert_close(run(AdaMuon, shape, torch.float64, **options), p, 1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_adamuon_without_sign_is_that_of_pytorch_optimizer(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # its products are in bfloat16
    iterate = lambda g, num_steps, weights: reference.newton_schulz(g, num_steps)  # noqa: E731
    monkeypatch.setattr("pytorch_optimizer.optimizer.muon.adamuon.zero_power_via_newton_schulz_5", iterate)
    p = nn.Parameter(draw(shape, 0))
    shared = {"lr": 0.02, "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-12}
    groups = [{"params": [p], "use_muon": True}]
    oracle = pytorch_optimizer.AdaMuon(groups, use_adjusted_lr=True, foreach=False, **shared)
    for step in range(1, 13):
        p.grad = draw(shape, step)
        oracle.step()
    options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "eps": 1e-12, "sign": False}
    assert_close(run(AdaMuon, shape, torch.float64, nesterov=False, **options), p.detach(), 1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [DOUBLE, SINGLE], ids=["fp64", "fp32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_mars_muon(shape: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    p, b = draw(shape, 0), torch.zeros(shape, dtype=torch.float64)
    before = torch.zeros_like(b)
    for step in range(1, 13):
        g = draw(shape, step)
        b = 0.9 * b + 0.1 * reference.mars(g, before, 0.9, 0.05)
        before = g
        p = (1 - 0.02 * 0.1) * p - 0.02 * rms_scale(shape) * reference.newton_schulz(b)
    options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9, "gamma": 0.05}
    assert_close(run(MARSMuon, shape, dtype, **options), p, tolerance)


def test_turbo_muon_is_closer_to_orthogonal_in_fewer_steps() -> None:
    """Wide gaussians, as SPEC measured them: error of four turbo steps far below that of five plain ones."""
    g = draw((64, 256), 3)
    polar = reference.polar(g)
    plain = orthogonalize(g[None])[0]
    turbo = orthogonalize(g[None], steps=4, coefficients=ALMOST_ORTHOGONAL, rescale_rows=True)[0]
    errors = [float((x - polar).norm() / polar.norm()) for x in (turbo, plain)]
    assert errors[0] < 0.1 < errors[1]


def test_normuon_evens_the_rows_and_keeps_the_size() -> None:
    """A matrix one of whose rows has had tiny directions all along: every row moves alike."""
    shape = (4, 32)
    g = draw(shape, 1)
    p = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    plain = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    for cls, parameter in ((NorMuon, p), (Muon, plain)):
        parameter.grad = g
        cls([{"params": [parameter], "kind": "matrix"}], lr=1.0, weight_decay=0.0).step()
    rows = p.detach().norm(dim=1)
    assert float(rows.max() / rows.min()) == pytest.approx(1.0, abs=1e-9)
    plain_rows = plain.detach().norm(dim=1)
    assert float(plain_rows.max() / plain_rows.min()) > 1.01
    assert float(p.detach().norm()) == pytest.approx(float(plain.detach().norm()), rel=1e-9)


@pytest.mark.parametrize("cls", [NorMuon, AdaMuon, MARSMuon, TurboMuon])
def test_row_blocks_and_experts_are_matrices_of_their_own(cls: Any) -> None:
    """A fused projection and stacked experts move as their parts do alone, state of rows included."""
    whole = [nn.Parameter(draw((12, 5), 0)), nn.Parameter(draw((3, 4, 5), 1))]
    groups = [
        {"params": [whole[0]], "kind": "matrix", "row_blocks": [[4, 2, 6]]},
        {"params": [whole[1]], "kind": "expert", "expert_dim": [0]},
    ]
    parts = [nn.Parameter(t.clone()) for t in (*whole[0].detach().split([4, 2, 6]), *whole[1].detach())]
    fused, apart = cls(groups, lr=0.1), cls([{"params": parts, "kind": "matrix"}], lr=0.1)
    for step in range(2, 6):
        for p in whole:
            p.grad = draw(tuple(p.shape), step)
        gradients = (*whole[0].grad.split([4, 2, 6]), *whole[1].grad)
        for p, g in zip(parts, gradients, strict=True):
            p.grad = g.clone()
        fused.step()
        apart.step()
    expected = torch.cat([p.detach() for p in parts[:3]]), torch.stack([p.detach() for p in parts[3:]])
    for p, e in zip(whole, expected, strict=True):
        torch.testing.assert_close(p.detach(), e, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("unconstrained", [False, True])
def test_scion_takes_each_kind_in_its_own_norm(unconstrained: bool) -> None:
    shapes = {"matrix": (6, 10), "embedding": (7, 4), "head": (7, 4), "vector": (5,)}
    params = {kind: nn.Parameter(draw(shape, 0)) for kind, shape in shapes.items()}
    optimizer = Scion(
        [{"params": [p], "kind": kind} for kind, p in params.items()], lr=0.01, unconstrained=unconstrained
    )
    expected = {kind: p.detach().clone() for kind, p in params.items()}
    momenta = {kind: torch.zeros_like(p) for kind, p in expected.items()}
    for step in range(1, 6):
        for kind, p in params.items():
            p.grad = draw(shapes[kind], step)
            m = momenta[kind] = 0.9 * momenta[kind] + 0.1 * p.grad
            direction = {
                "matrix": lambda m: 50 * math.sqrt(6 / 10) * reference.newton_schulz(m),
                "embedding": lambda m: 3000 * m / (m.square().mean(1, keepdim=True).sqrt() + 1e-8),
                "head": lambda m: 3000 * m.sign() / 4,
                "vector": lambda m: m / (m.square().mean().sqrt() + 1e-8),
            }[kind](m)
            expected[kind] = (1.0 if unconstrained else 0.99) * expected[kind] - 0.01 * direction
        optimizer.step()
    for kind, p in params.items():
        torch.testing.assert_close(p.detach(), expected[kind], rtol=1e-9, atol=1e-9)


def test_scions_weights_stay_in_their_balls() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    optimizer = build("scion", model, lr=0.2, radius=3.0)
    for step in range(60):
        model[0].weight.grad = draw((8, 8), step % 3).float()
        optimizer.step()
    assert float(torch.linalg.matrix_norm(model[0].weight.detach(), 2)) <= 3.0 * 1.2
