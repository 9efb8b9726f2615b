"""No two names are one method: twenty steps on one problem in which what tells methods apart acts.

The kit's rule O1 compares directions of the displacement, for third parties too; here the whole paths of the
registered ones are compared with their lengths, and each term that gives a method its name is switched off.
"""

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_optim.testing.subject import Bag, Subject, drive, gradients

STEPS = 20
SHAPES = ((12, 10), (64, 65), (9,))
APART = 1e-3
"""Least distance of two paths, relative to their length; two ways to compute one method differ by 1e-6."""


def problem() -> tuple[list[Tensor], list[list[Tensor]]]:
    """A matrix is large enough for 8-bit states; every fourth gradient is large, for what clips; half of the
    gradient stays, for what estimates how far there is to go. A head's logits are above the usual bound."""
    start = [torch.randn(shape, generator=torch.Generator().manual_seed(7)).double() for shape in SHAPES]
    (steady,), noise = gradients(start, 1, seed=8), gradients(start, STEPS)
    steps = [[g + s for g, s in zip(grads, steady, strict=True)] for grads in noise]
    return start, [[8 * g if t % 4 == 3 else g for g in grads] for t, grads in enumerate(steps)]


def follow(optimizer: Any, tensors: list[nn.Parameter]) -> Tensor:
    """The displacements after every step (steps, elements)."""
    points = [torch.cat([p.detach().flatten() for p in tensors])]
    drive(
        optimizer, tensors, problem()[1], lambda _: points.append(torch.cat([p.flatten() for p in tensors]))
    )
    return torch.stack(points[1:]).detach() - points[0]


@functools.cache
def path(name: str, *changes: tuple[str, Any]) -> Tensor:
    subject, bag = Subject(name, optimizers.get(name)), Bag(problem()[0], logit=125.0)
    options = {"rank": 4} if subject.has("rank") else {}
    rate = 1.0 if subject.traits.one_lr else 1e-2  # a method that finds its step size starts at about 1e-6
    options |= {"lr": rate, "weight_decay": 0.0, "total_steps": STEPS, **dict(changes)}
    return follow(subject.build(bag, **options), bag.tensors())


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / torch.maximum(one.norm(), other.norm()))


def test_no_two_go_the_same_way() -> None:
    paths = {name: path(name) for name in optimizers.names()}
    assert len(paths) >= 33
    apart = {(a, b): distance(paths[a], paths[b]) for a, b in itertools.combinations(paths, 2)}
    assert {pair: found for pair, found in apart.items() if not found > APART} == {}


def test_only_adamw_is_adamw() -> None:
    tensors = [nn.Parameter(t) for t in problem()[0]]
    adamw = follow(torch.optim.AdamW(tensors, lr=1e-2, weight_decay=0.0), tensors)
    apart = {name: distance(path(name), adamw) for name in optimizers.names()}
    assert [name for name, found in apart.items() if not found > APART] == ["adamw"]
    assert apart["adamw"] < 1e-6


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("adafactor", "d", 1e9),
        ("adam_mini", "block_rows", 4),
        ("adamuon", "sign", False),
        ("adamw_8bit", "min_8bit_size", 10**9),
        ("adan", "max_grad_norm", 1.0),
        ("ademamix", "alpha", 0.0),
        ("adopt", "clip", False),
        ("apollo", "scale_type", "tensor"),
        ("apollo", "proj_type", "reverse_std"),
        ("apollo", "disable_nl", True),
        ("apollo_8bit", "scale_type", "tensor"),
        ("apollo_8bit", "proj_type", "left"),
        ("apollo_mini", "scale", 1.0),
        ("came", "clip_threshold", 1e9),
        ("galore_adamw", "update_interval", 5),
        ("gpa_adamw", "mu_y", 0.1),
        ("lamb", "max_trust", 1.0),
        ("mars_adamw", "gamma", 0.0),
        ("mars_muon", "gamma", 0.0),
        ("muon", "nesterov", False),
        ("muon", "ns_eps", 1.0),
        ("muonclip", "qk_clip_threshold", 1e9),
        ("normuon", "beta2", 0.0),
        ("prodigy", "d_coef", 2.0),
        ("psgd_kron", "precond_lr", 1e-6),
        ("schedulefree_adamw", "r", 1.0),
        ("scion", "unconstrained", True),
        ("shampoo", "grafting", "none"),
        ("soap", "precondition_frequency", 1000),
        ("sophia", "rho", 10.0),
        ("turbo_muon", "ns_steps", 1),
    ],
)
def test_the_term_of_its_own_acts(name: str, option: str, value: Any) -> None:
    assert option in dict.fromkeys(Subject(name, optimizers.get(name)).cls.__init__.__annotations__)
    assert distance(path(name), path(name, (option, value))) > APART


@pytest.mark.parametrize("name", ["adamw_8bit", "apollo_8bit"])
def test_states_are_in_eight_bits(name: str) -> None:
    bag = Bag([torch.randn(64, 65)])
    optimizer = Subject(name, optimizers.get(name)).build(bag)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 1))
    kept = [v.dtype for v in optimizer.state[bag.tensors()[0]].values() if isinstance(v, Tensor)]
    assert kept.count(torch.uint8) == 2
