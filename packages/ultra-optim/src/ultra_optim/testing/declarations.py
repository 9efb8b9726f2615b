"""The rule about traits: what a class says about itself is so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import torch

from ultra_core.testing import Finding
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.testing.counting import shares_steps
from ultra_optim.testing.subject import (
    Bag,
    Subject,
    displacement,
    drive,
    error,
    gradients,
    take_step,
    treated,
)

SHAPES = ((6, 10), (12, 4), (7,))

REQUIRED = {
    "eval_weights": ("methods", ("eval", "train")),
    "needs_curvature": ("methods", ("curvature_due", "curvature_step")),
    "needs_total_steps": ("options", ("total_steps",)),
    "needs_logits": ("options", ("model",)),
}
"""What a class must have that declares a trait, and must not have that does not."""


def says_what_it_is(subject: Subject) -> None:
    """Every trait that the class declares is true, and every name in it exists.

    Methods and options that a trait speaks of are there, and what is declared happens: a first step that
    moves nothing, gradients that are changed, elements that depend on others, shared counts, own schedules.

    Fix: correct or remove the trait that the message names.
    """
    if not isinstance(subject.traits, OptimizerTraits):
        raise Finding(f"traits is a {type(subject.traits).__name__}, no OptimizerTraits")
    for message in (*_unknown_values(subject), *_missing_parts(subject), *_untrue(subject)):
        raise Finding(message)


def _unknown_values(subject: Subject) -> Iterator[str]:
    traits = subject.traits
    for name, hint in get_type_hints(OptimizerTraits).items():
        if hint is bool and not isinstance(getattr(traits, name), bool):
            yield f"traits.{name} is {getattr(traits, name)!r}, neither True nor False"
    for option in sorted(traits.speed_only):
        if not subject.has(option):
            yield f"traits.speed_only names {option!r}, which is no option"


def _missing_parts(subject: Subject) -> Iterator[str]:
    for trait, (what, names) in REQUIRED.items():
        present = [n for n in names if (subject.has(n) if what == "options" else hasattr(subject.cls, n))]
        if getattr(subject.traits, trait) and len(present) < len(names):
            missing = next(n for n in names if n not in present)
            yield f"traits.{trait} is true, but the class has no {missing!r} among its {what}"
        if not getattr(subject.traits, trait) and trait == "needs_curvature" and len(present) == len(names):
            yield f"the class has {' and '.join(names)}, but traits.{trait} is false: nobody would call them"


def _untrue(subject: Subject) -> Iterator[str]:
    """Yield a message for each trait whose claim is not seen."""
    for trait, (is_so, what) in CLAIMS.items():
        if getattr(subject.traits, trait) and not is_so(subject):
            yield f"traits.{trait} is true, but {what}"
    if subject.traits.initial_lr and not subject.traits.own_schedule:
        yield "traits.initial_lr is true, but own_schedule is false: presets could name a schedule in vain"
    if not subject.traits.idle_first_step and _first_step_is_idle(subject):
        yield "traits.idle_first_step is false, but the first step moves nothing"


def _first_step_is_idle(subject: Subject) -> bool:
    start = [torch.ones(shape, dtype=torch.float64) for shape in SHAPES]
    bag = Bag([t.clone() for t in start])
    optimizer = subject.build(bag, lr=1e-2, weight_decay=0.0)
    drive(optimizer, bag.tensors(), gradients(start, 1))
    return all(bool((p == 1).all()) for p in treated(subject, optimizer))


def _mixes_parameters(subject: Subject) -> bool:
    """Whether a parameter moves differently when another one, with larger gradients, is there."""
    start = [torch.ones(shape, dtype=torch.float64) for shape in SHAPES]
    growing = enumerate(gradients(start, 4))  # what clips norms acts on the first ones only
    steps = [[50 * 4**t * a, 50 * 4**t * b, c] for t, (a, b, c) in growing]
    together = displacement(subject, start, steps, lr=1e-2)[2]
    (alone,) = displacement(subject, start[2:], [grads[2:] for grads in steps], lr=1e-2)
    return error(alone, together) > 1e-12


def _ignores_new_rates(subject: Subject) -> bool:
    """Whether a learning rate that changes after the first step has no effect."""
    start, ends = [torch.ones(shape, dtype=torch.float64) for shape in SHAPES], []
    steps = gradients(start, 4)
    for factor in (1.0, 0.0):
        bag = Bag([t.clone() for t in start])
        optimizer = subject.build(bag, lr=1e-2)
        drive(optimizer, bag.tensors(), steps[:1])
        for group in optimizer.param_groups:
            group["lr"] *= factor
        drive(optimizer, bag.tensors(), steps[1:])
        ends.append(bag.tensors())
    return all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def _changes_gradients(subject: Subject) -> bool:
    bag = Bag([torch.ones(shape, dtype=torch.float64) for shape in SHAPES])
    optimizer = subject.build(bag, lr=1e-2, weight_decay=0.1)
    changed = False
    for grads in gradients(bag.tensors(), 4):
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = 100 * grad
        take_step(optimizer)
        changed |= any(
            p.grad is None or not torch.equal(p.grad, 100 * g)
            for p, g in zip(bag.tensors(), grads, strict=True)
        )
    return changed


def _mixes_elements(subject: Subject) -> bool:
    """Whether half of a vector moves differently when the other half, with larger gradients, is cut off."""
    start = torch.ones(6000, dtype=torch.float64)
    growing = enumerate(gradients([start], 4))  # what clips norms acts on the other half only
    steps = [[torch.cat([g[:3000], 50 * 4**t * g[3000:]])] for t, (g,) in growing]
    (whole,) = displacement(subject, [start], steps, lr=1e-2)
    (half,) = displacement(subject, [start[:3000]], [[g[:3000]] for (g,) in steps], lr=1e-2)
    return error(half, whole[:3000]) > 1e-12


def _needs_total_steps(subject: Subject) -> bool:
    start = [torch.ones(shape, dtype=torch.float64) for shape in SHAPES]
    ends = [displacement(subject, start, gradients(start, 8), lr=1e-2, total_steps=n) for n in (8, 800)]
    return any(error(a, b) > 1e-9 for a, b in zip(*ends, strict=True))


def _speeds(subject: Subject, lr: float, steps: int) -> list[float]:
    """Return how far each step moves the weights of evaluation under constant gradients."""
    bag = Bag([torch.zeros(shape, dtype=torch.float64) for shape in SHAPES])
    optimizer: Any = subject.build(bag, lr=lr, weight_decay=0.0)
    (grads,) = gradients(bag.tensors(), 1)
    points = [torch.zeros(sum(p.numel() for p in bag.tensors()), dtype=torch.float64)]
    for _ in range(steps):
        drive(optimizer, bag.tensors(), [grads])
        if subject.traits.eval_weights:
            optimizer.eval()
        points.append(torch.cat([p.detach().flatten().clone() for p in bag.tensors()]))
        if subject.traits.eval_weights:
            optimizer.train()
    return [float((b - a).norm()) for a, b in itertools.pairwise(points)]


def _schedules_itself(subject: Subject) -> bool:
    speeds = _speeds(subject, 1e-2, 40)
    return abs(speeds[-1] / max(*speeds[:2], 1e-300) - 1) > 0.2


def _finds_its_step(subject: Subject) -> bool:
    speeds = _speeds(subject, 1.0, 60)
    return speeds[-1] > 3 * speeds[2]


CLAIMS: dict[str, tuple[Callable[[Subject], bool], str]] = {
    "idle_first_step": (_first_step_is_idle, "the first step moves parameters"),
    "changes_gradients": (_changes_gradients, "gradients are as before after four steps"),
    "whole_tensors": (_mixes_elements, "half of a vector moves as it does beside the other half"),
    "needs_total_steps": (_needs_total_steps, "eight steps are the same with total_steps 8 and 800"),
    "common_steps": (shares_steps, "parameters that miss steps move as those that do not"),
    "common_norm": (_mixes_parameters, "a parameter moves as it does beside others with large gradients"),
    "initial_lr": (_ignores_new_rates, "a learning rate that is 0 from the second step on changes the path"),
    "own_schedule": (_schedules_itself, "under constant gradients the fortieth step is as long as the first"),
    "one_lr": (_finds_its_step, "under constant gradients the sixtieth step is no longer than the third"),
}
"""What each claim means, and what is said where it is not so."""
