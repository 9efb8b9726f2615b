"""The rule that an optimizer is a method of its own, or the twin of one that it names."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.families import fits
from ultra_optim.testing.subject import Subject, displacement, drive, gradients
from ultra_optim.testing.twins import follows_far_into_a_run

SAME = 0.999999
"""Cosine of the displacements after twenty steps in float64 above which two methods count as the same.

The largest cosine of different methods is 0.99999: that of AdEMAMix, whose slow average starts late."""

ALIKE = 0.9
"""Cosine above which a method is tried with the numbers of the optimizer under test."""

FOLLOWS = 0.999
"""Cosine of a method and its twin, whose state may be rounded."""

NUMBERS = frozenset({"betas", "momentum", "beta2"})
"""Options that a twin follows with other values."""

SHAPES = ((6, 10), (12, 4), (64, 65))
"""One tensor is large enough for 8-bit state."""


def differs_from_other_methods(subject: Subject) -> None:
    """The displacement after twenty steps differs from that of every other known optimizer.

    AdamW, Lion and SGD with momentum are tried with all decay rates, others with their defaults and with the
    numbers of the optimizer under test. That of the optimizer that the traits name (``imitates``) must be
    followed, with the defaults and with other numbers, and far into a run up to rounding.

    Fix: a twin of a known method says so by ``OptimizerTraits(imitates="adamw")`` and then follows it with
    all options that both have; else something must differ in the update itself, not in its numbers.
    """
    own, twin = _path(subject), subject.traits.imitates
    followed = None
    if twin is not None:
        followed = _follow(subject, twin, own)
    _compare_with_families(subject, own, followed)
    for name, rival, options in _rivals(subject):
        if traits_of(rival).imitates == subject.name or name == twin:
            continue
        other = _path_of(name, rival, tuple(options.items()))
        if followed is not None and _likeness(followed, other) >= SAME:
            continue  # a twin of its twin
        likeness, numbers = _likeness(own, other), ""
        if ALIKE < likeness < SAME and (shared := _other_numbers(subject, rival)):
            try:
                other = _path_of(name, rival, tuple({**options, **shared}.items()))
            except UltraError:
                continue  # it has no such numbers, as a decay rate of 1
            likeness, numbers = _likeness(own, other), " with other numbers"
        if likeness >= SAME:
            raise Finding(
                f"its updates are those of {name}{numbers} (cosine {likeness:.6f}): "
                "it is not a method of its own",
                fix=f'a twin on purpose says so: traits = OptimizerTraits(imitates="{name}")',
            )


def _other_numbers(subject: Subject, rival: Any) -> dict[str, Any]:
    """Return the numbers of a subject that a rival has too, of the same form, with other defaults."""
    defaults = {name: option.default for name, option in read_options(rival).items()}

    def form(value: Any) -> int:
        return len(value) if isinstance(value, tuple) else 0

    return {
        name: value
        for name, value in _shared_options(subject, rival)
        if name in NUMBERS and value != defaults[name] and form(value) == form(defaults[name])
    }


def _follow(subject: Subject, twin: str, own: Tensor) -> Tensor:
    """Return the path of the twin that the traits name, after comparing it, with other numbers too."""
    known = _known(twin)
    shared = dict(_shared_options(subject, known))
    followed = _path_of(twin, known, tuple(shared.items()))
    tried = [("", own, followed)]
    for name, value in shared.items():
        if name in NUMBERS:
            other = {name: tuple(0.9 * x for x in value) if isinstance(value, tuple) else 0.9 * value}
            changed = attrs.evolve(subject, options={**subject.options, **other})
            path = _path_of(twin, known, tuple({**shared, **other}.items()))
            tried.append((f" with {name}={other[name]}", _path(changed), path))
    for what, mine, its in tried:
        likeness = _likeness(mine, its)
        if likeness <= FOLLOWS:
            raise Finding(f"it should follow {twin}, but{what} the cosine is {likeness:.6f}")
    follows_far_into_a_run(subject, twin, known, shared)
    return followed


def _compare_with_families(subject: Subject, own: Tensor, followed: Tensor | None) -> None:
    steps = _problem()[1]
    known = {"adamw": "AdamW", "lion": "Lion", "sgd_momentum": "SGD with momentum"}.get(subject.name)
    for fit in fits(own, steps):
        if not fit.close or fit.family.name == known:
            continue
        if followed is not None and any(f.close for f in fits(followed, steps) if f.family is fit.family):
            continue  # its twin is one
        raise Finding(
            f"its updates are those of {fit} (cosine {fit.likeness:.6f}): it is not a method of its own",
            fix=f'a twin on purpose says so: traits = OptimizerTraits(imitates="{fit.family.twin}")',
        )


def _likeness(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=0))


def _known(name: str) -> Any:
    """Return the optimizer of the trait ``imitates``."""
    found = getattr(torch.optim, name.removeprefix("torch.optim."), None) if "." in name else None
    if found is None and name not in optimizers:
        raise Finding(
            f"traits.imitates is {name!r}, which is neither a registered optimizer nor one of torch.optim"
        )
    return found or optimizers.get(name)


def _shared_options(subject: Subject, twin: Any) -> tuple[tuple[str, Any], ...]:
    """Return the options of a subject, set or by default, that its twin has too."""
    own = {n: o.default for n, o in read_options(subject.cls).items() if o.settable and not o.required}
    own |= subject.options
    known = read_options(twin).keys() - {"lr", "weight_decay", "total_steps"}
    return tuple((name, value) for name, value in own.items() if name in known and value is not None)


def _path(subject: Subject) -> Tensor:
    """Return the displacement after twenty steps of a problem in which methods differ.

    Every fourth gradient is large, and the attention logits are above the usual bound.
    """
    start, steps = _problem()
    moved = displacement(
        subject, start, steps, logit=125.0, lr=1e-2, weight_decay=0.0, total_steps=len(steps)
    )
    return torch.cat([d.flatten() for d in moved])


def _problem() -> tuple[list[Tensor], list[list[Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    steps = gradients(start, 20)
    return start, [[8 * g if t % 4 == 3 else g for g in grads] for t, grads in enumerate(steps)]


@functools.cache
def _path_of(name: str, cls: type, options: tuple[tuple[str, Any], ...]) -> Tensor:
    if not cls.__module__.startswith("torch."):
        return _path(Subject(name, cls, dict(options)))
    start, steps = _problem()
    tensors = [nn.Parameter(t.clone()) for t in start]
    drive(cls(tensors, **{"lr": 1e-2, "weight_decay": 0.0, **dict(options)}), tensors, steps)
    return torch.cat([(p.detach() - t).flatten() for p, t in zip(tensors, start, strict=True)])


def _rivals(subject: Subject) -> list[tuple[str, Any, dict[str, Any]]]:
    found: list[tuple[str, Any, dict[str, Any]]] = [
        ("torch.optim.AdamW", torch.optim.AdamW, {}),
        ("torch.optim.SGD", torch.optim.SGD, {}),
        ("torch.optim.SGD with momentum", torch.optim.SGD, {"momentum": 0.9}),
    ]
    found += [(name, optimizers.get(name), {}) for name in optimizers.names() if name != subject.name]
    return [(name, cls, options) for name, cls, options in found if not issubclass(subject.cls, cls)]
