"""Relatives of Adam: twenty steps with fixed gradients against formulas, torch and pytorch_optimizer."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from ultra_optim import (
    ADOPT,
    AdamMini,
    Adan,
    AdEMAMix,
    CautiousAdamW,
    MARSAdamW,
    RAdam,
    StableAdamW,
)
from ultra_optim.reference import adam_family

SHAPES = ((4, 9), (9, 4), (5, 5), (7,))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def tensors(shapes: Any, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random ones; every fourth seed gives large ones, so that clipped methods clip."""
    generator = torch.Generator().manual_seed(seed)
    scale = 8.0 if seed % 4 == 3 else 1.0
    return [(torch.randn(s, generator=generator, dtype=torch.float64) * scale).to(dtype) for s in shapes]


def run(
    cls: Any, shapes: Any = SHAPES, dtype: torch.dtype = torch.float64, steps: int = 20, **options: Any
) -> Any:
    params = [t.requires_grad_() for t in tensors(shapes, 0, dtype)]
    optimizer = cls(params, **options)
    for step in range(steps):
        for p, g in zip(params, tensors(shapes, step + 1, dtype), strict=True):
            p.grad = g
        optimizer.step()
    return [p.detach() for p in params]


def by_formula(
    formula: Callable[..., Tensor], shapes: Any = SHAPES, dtype: torch.dtype = torch.float64, **options: Any
) -> list[Tensor]:
    params = tensors(shapes, 0, dtype)
    states: list[dict[str, Any]] = [{} for _ in shapes]
    for step in range(20):
        grads = tensors(shapes, step + 1, dtype)
        params = [formula(p, g, s, **options) for p, g, s in zip(params, grads, states, strict=True)]
    return params


def distance(actual: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - e).abs().max() / e.abs().max()) for a, e in zip(actual, expected, strict=True))


COMMON = {"lr": 0.01, "eps": 1e-8, "weight_decay": 0.1}
TWO = {**COMMON, "betas": (0.9, 0.98)}
FORMULAS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "radam": (RAdam, adam_family.radam, TWO),
    "radam-rectified": (RAdam, adam_family.radam, COMMON | {"betas": (0.9, 0.999)}),
    "adan": (Adan, adam_family.adan, COMMON | {"betas": (0.98, 0.92, 0.99)}),
    "adan-no-prox": (Adan, adam_family.adan, COMMON | {"betas": (0.98, 0.92, 0.99), "no_prox": True}),
    "adopt": (ADOPT, adam_family.adopt, TWO),
    "adopt-unclipped": (ADOPT, adam_family.adopt, TWO | {"clip": False}),
    "ademamix": (
        AdEMAMix,
        adam_family.ademamix,
        COMMON | {"betas": (0.9, 0.98, 0.999), "alpha": 5.0, "t_alpha_beta3": 15},
    ),
    "mars_adamw": (MARSAdamW, adam_family.mars_adamw, TWO | {"gamma": 0.025, "optimize_1d": True}),
    "cautious_adamw": (CautiousAdamW, adam_family.cautious_adamw, TWO),
    "stable_adamw": (StableAdamW, adam_family.stable_adamw, TWO),
    "adam_mini": (AdamMini, adam_family.adam_mini, TWO),
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_against_the_formula(name: str, dtype: torch.dtype) -> None:
    cls, formula, options = FORMULAS[name]
    expected = by_formula(formula, dtype=dtype, **{k: v for k, v in options.items() if k != "optimize_1d"})
    assert distance(run(cls, dtype=dtype, **options), expected) < TOLERANCE[dtype]


PEERS: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any]]] = {
    "radam": (RAdam, TWO, torch.optim.RAdam, TWO | {"decoupled_weight_decay": True}),
    "adan": (Adan, COMMON, pytorch_optimizer.Adan, COMMON),
    "adan-no-prox": (
        Adan,
        COMMON | {"no_prox": True},
        pytorch_optimizer.Adan,
        COMMON | {"weight_decouple": True},
    ),
    # its t is one more than that of the authors' code, and its first step decays
    "adopt": (
        ADOPT,
        TWO | {"weight_decay": 0.0},
        pytorch_optimizer.ADOPT,
        TWO | {"weight_decay": 0.0, "clip_lambda": lambda step: (step - 1) ** 0.25},
    ),
    "ademamix": (
        AdEMAMix,
        COMMON | {"t_alpha_beta3": 15},
        pytorch_optimizer.AdEMAMix,
        COMMON | {"t_alpha_beta3": 15, "weight_decouple": True},
    ),
    "ademamix-no-warm-up": (
        AdEMAMix,
        COMMON | {"t_alpha_beta3": 0},
        pytorch_optimizer.AdEMAMix,
        COMMON | {"weight_decouple": True},
    ),
    "stable_adamw": (StableAdamW, COMMON, pytorch_optimizer.StableAdamW, COMMON),
}


@pytest.mark.parametrize("name", PEERS)
def test_against_other_libraries(name: str) -> None:
    cls, options, peer, its_options = PEERS[name]
    assert distance(run(cls, **options), run(peer, **its_options)) < 1e-10


def test_mars_against_pytorch_optimizer() -> None:
    """It adds eps before it corrects the bias of v, and 1e-15 to v: hence the tiny eps and the tolerance."""
    options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-13, "lr_1d": 0.02}
    ours = run(MARSAdamW, **options, weight_decay_1d=0.1)
    assert distance(ours, run(pytorch_optimizer.MARS, **options)) < 1e-9
    other_gamma = run(MARSAdamW, **options, weight_decay_1d=0.1, gamma=0.0025)
    assert distance(other_gamma, ours) > 1e-3


def test_radam_moves_before_the_threshold_and_pytorch_optimizer_does_not() -> None:
    ours, theirs = run(RAdam, steps=3), run(pytorch_optimizer.RAdam, steps=3)
    start = tensors(SHAPES, 0)
    assert distance(theirs, start) == 0
    assert distance(ours, start) > 1e-4


def test_adopt_counts_as_its_authors_do() -> None:
    """The second step is bounded by 1, not by 2^(1/4)."""
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = ADOPT([p], lr=1.0, betas=(0.0, 0.9))
    for gradient, expected in ((1.0, 0.0), (5.0, -1.0), (100.0, -1.0 - 2**0.25)):
        p.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
        assert float(p.detach()) == pytest.approx(expected, abs=1e-12)


def test_adan_clips_as_pytorch_optimizer() -> None:
    """Its norm is taken in float32."""
    ours = run(Adan, lr=0.01, max_grad_norm=0.5)
    assert distance(ours, run(pytorch_optimizer.Adan, lr=0.01, max_grad_norm=0.5)) < 1e-6
    assert distance(ours, run(Adan, lr=0.01)) > 1e-3


def test_adam_mini_against_pytorch_optimizer() -> None:
    """Its block is the whole of a tensor whose name it does not know, and it never decays a norm's."""
    vector = torch.nn.Module()
    vector.norm = torch.nn.Parameter(tensors(((7,),), 0)[0])
    theirs = pytorch_optimizer.AdamMini(vector, lr=0.01, weight_decay=0.1)
    for step in range(20):
        vector.norm.grad = tensors(((7,),), step + 1)[0]
        theirs.step()
    ours = run(AdamMini, ((7,),), lr=0.01, weight_decay=0.0)
    assert distance(ours, [vector.norm.detach()]) < 1e-6  # its state is float32


def test_adam_mini_takes_heads_where_it_is_told_to() -> None:
    """pytorch_optimizer's blocks of query and key are heads."""
    attention = torch.nn.Module()
    attention.q_proj = torch.nn.Linear(8, 8, bias=False, dtype=torch.float64)
    with torch.no_grad():
        attention.q_proj.weight.copy_(tensors(((8, 8),), 0)[0])
    theirs = pytorch_optimizer.AdamMini(attention, lr=0.01, weight_decay=0.1, num_embeds=8, num_heads=2)
    for step in range(20):
        attention.q_proj.weight.grad = tensors(((8, 8),), step + 1)[0]
        theirs.step()
    expected = [attention.q_proj.weight.detach()]
    assert distance(run(AdamMini, ((8, 8),), lr=0.01, weight_decay=0.1, block_rows=4), expected) < 1e-6
    assert distance(run(AdamMini, ((8, 8),), lr=0.01, weight_decay=0.1), expected) > 1e-3
