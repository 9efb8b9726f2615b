"""How closely an optimizer follows its twin, the method that its traits name (``imitates``)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.subject import Bag, Subject, gradients, take_step

SHAPES = ((6, 4), (3, 8))
"""Matrices: what a method does to vectors is not what makes it that method."""

STEPS = 240
START = 200
"""The first step that is compared; what differs in the first ones only, as a clipping, is forgotten."""

SAME = 1e-5
"""Largest difference of the displacements relative to their size."""

ROUNDED = 0.1
"""The same where state is rounded to less than 32 bits."""

OTHERS = {"eps": 1e-2, "weight_decay": 0.1}
"""Options that act where their defaults do not show."""


def follows_far_into_a_run(subject: Subject, twin: str, cls: Any, shared: dict[str, Any]) -> None:
    """Compare forty steps that begin after two hundred, with the defaults and with other numbers.

    Args:
        subject: the optimizer under test.
        twin: what its traits name.
        cls: the class of the twin.
        shared: options of the subject, set or by default, that the twin has too.
    """
    for options in _variants(subject, cls):
        found, rounded = _late_path(subject, subject.traits.one_lr, options)
        expected = _path_of(cls, subject.traits.one_lr, tuple({**shared, **options}.items()))
        for index, (mine, its) in enumerate(zip(found, expected, strict=True)):
            off = float((mine - its).norm() / its.norm())
            if off > (ROUNDED if rounded else SAME):
                what = "".join(f" with {name}={value:g}" for name, value in options.items())
                longer = float(mine.norm() / its.norm())
                raise Finding(
                    f"it should follow {twin} also after {START} steps, but{what} the displacement of "
                    f"{SHAPES[index]} in steps {START + 1} to {STEPS} is {longer:.4g} times as long, and off "
                    f"by {off:.1e} of its length"
                )


def _variants(subject: Subject, cls: Any) -> Iterator[dict[str, float]]:
    yield {}
    for name, value in OTHERS.items():
        known = subject.has(name) and name in read_options(cls)
        if known and (name != "weight_decay" or subject.traits.decay == _decay_of(cls)):
            yield {name: value}


def _decay_of(cls: Any) -> str:
    if cls.__module__.startswith("torch."):
        return "decoupled" if cls.__name__ == "AdamW" else "coupled"
    return traits_of(cls).decay


@functools.cache
def _path_of(cls: Any, one_lr: bool, options: tuple[tuple[str, Any], ...]) -> list[Tensor]:
    return _late_path(Subject(cls.__name__, cls), one_lr, dict(options))[0]


def _late_path(subject: Subject, one_lr: bool, options: dict[str, Any]) -> tuple[list[Tensor], bool]:
    """Return the displacements of the late steps, and whether there is state of less than 32 bits."""
    generator = torch.Generator().manual_seed(3)
    start = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
    bag = Bag([t.clone() for t in start], logit=125.0)
    rate = {"lr": 1e2 if one_lr else 1e-2, "weight_decay": 0.0}
    optimizer: Any
    if subject.cls.__module__.startswith("torch."):
        optimizer = subject.cls(bag.tensors(), **{**rate, **options})
    else:
        optimizer = subject.build(bag, **{**rate, **options})
    for step, grads in enumerate(gradients(start, STEPS)):
        if step == START:
            _put(bag.tensors(), start)
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = grad.sign() * (0.5 + 0.5 * grad.abs().clamp(max=2))
        take_step(optimizer)
    state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    rounded = any(v.element_size() < 4 for v in state)
    return [p.detach() - old for p, old in zip(bag.tensors(), start, strict=True)], rounded


@torch.no_grad()
def _put(tensors: list[nn.Parameter], values: list[Tensor]) -> None:
    for p, value in zip(tensors, values, strict=True):
        p.copy_(value)
