"""The rule that every option of the constructor acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ultra_core.contracts import ParamInfo
from ultra_core.testing import Finding
from ultra_core.testing.variations import Variation, indistinct, variations
from ultra_optim.testing.kernels import WAYS
from ultra_optim.testing.subject import Bag, Subject, drive, error, gradients

STEPS = 14
BASE: Mapping[str, Any] = {"lr": 1e-2, "weight_decay": 0.1, "total_steps": 100}
"""Options under which others are varied; a decay rule needs decay."""

SHAPES = ((12, 8), (9, 6), (7,), (11, 6), (10, 14))
"""A tall head, a fused matrix, a vector, an embedding, and a wide matrix."""

SIZES = (1.0, 0.01, 1.0, 1.0, 1.0)
"""Of the initial weights: small ones too, for what is a lower bound of them."""

LONG_WAY = 1e2
"""The rate of methods that find their step size, at which the distance grows in a few steps."""

INFOS = {
    "p1": ParamInfo(kind="matrix", row_blocks=(4, 2, 3)),
    "p2": ParamInfo(kind="vector"),
    "p3": ParamInfo(kind="embedding"),
}
LOGIT = 125.0
SAME = 1e-9

Moves = list[Tensor]


def options_act(subject: Subject) -> None:
    """Every option of the constructor changes the path of fourteen steps, but for those of ``speed_only``.

    Each option is varied by itself, each number of a tuple too. Every fourth gradient is large, for what
    clips; the learning rate changes, and a head has large logits.

    Fix: read the option from the group where it acts, as in ``group["betas"][1]``; if it changes only speed
    or memory, name it in ``traits.speed_only``; if it acts only with other values or options, declare them in
    ``variations: ClassVar = {"option": {"option": 3, "another": 2}}``.
    """
    tried = variations(subject.cls, _given(subject), lambda options: _build(subject, options), skip=set(WAYS))
    paths: dict[str, Moves] = {}

    def path(options: Mapping[str, Any]) -> Moves:
        key = repr(sorted(options.items()))
        if key not in paths:
            try:
                paths[key] = _path(subject, options)
            except Exception as error:
                tried = ", ".join(f"{name}={value!r}" for name, value in options.items()) or "the defaults"
                raise Finding(f"a step with {tried} raises {type(error).__name__}: {error}") from error
        return paths[key]

    for _, group in groupby(tried, key=lambda variation: variation.option):
        _compare(subject, list(group), path)


def _given(subject: Subject) -> dict[str, Any]:
    base = {**BASE, "lr": LONG_WAY} if subject.traits.one_lr else BASE
    return {name: value for name, value in base.items() if subject.has(name)} | dict(subject.options)


def _compare(subject: Subject, tried: list[Variation], path: Callable[[Mapping[str, Any]], Moves]) -> None:
    """Compare the paths of the values of one option."""
    first = tried[0]
    if first.refusal:
        fix = f"declare values to try in the class: `variations: ClassVar = {{{first.name!r}: {{...}}}}`."
        raise Finding(f"{first.option} cannot be varied: {first.refusal}", fix=fix)
    outcomes = [(variation, path(variation.arguments)) for variation in tried]
    if first.name in subject.traits.speed_only:
        for variation, moves in outcomes:
            if (off := _distance(moves, path(variation.context))) > 1e-6:
                raise Finding(
                    f"{first.name} is in traits.speed_only, but {variation} changes the path by {off:.1e}"
                )
        return
    if twins := indistinct(outcomes, path, _same):
        raise Finding(f"{twins} give the same path")


def _same(one: Moves, other: Moves) -> bool:
    return _distance(one, other) < SAME


def _build(subject: Subject, options: Mapping[str, Any]) -> tuple[Bag, Any]:
    generator = torch.Generator().manual_seed(7)
    shapes = zip(SHAPES, SIZES, strict=True)
    start = [size * torch.randn(s, generator=generator, dtype=torch.float64) for s, size in shapes]
    bag = Bag(start, INFOS, logit=LOGIT)
    return bag, subject.build(bag, **{**_given(subject), **options})


def _path(subject: Subject, options: Mapping[str, Any]) -> Moves:
    """Return the displacements; of the weights of evaluation too, where there are any."""
    bag, optimizer = _build(subject, options)
    before = [p.detach().clone() for p in bag.tensors()]
    rates = [group["lr"] for group in optimizer.param_groups]
    for step, grads in enumerate(gradients(bag.tensors(), STEPS)):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - 0.5 * step / STEPS)
        drive(optimizer, bag.tensors(), [[8 * g if step % 4 == 3 else g for g in grads]])
    moves = [p.detach() - old for p, old in zip(bag.tensors(), before, strict=True)]
    if subject.traits.eval_weights:
        optimizer.eval()
        moves += [p.detach() - old for p, old in zip(bag.tensors(), before, strict=True)]
    return moves


def _distance(one: Moves, other: Moves) -> float:
    return max(error(a, b) for a, b in zip(one, other, strict=True))
