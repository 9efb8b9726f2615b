"""The rule that an optimizer is a method of its own, or the twin of one that it names."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_core.testing import Finding
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.subject import Subject, displacement, drive, gradients

SAME = 0.999999
"""Cosine of the displacements after twenty steps in float64 above which two methods count as the same.

The largest cosine of different methods is 0.99999: that of AdEMAMix, whose slow average starts late."""

SHAPES = ((6, 10), (12, 4), (64, 65))
"""One tensor is large enough for 8-bit state."""


def differs_from_other_methods(subject: Subject) -> None:
    """The displacement after twenty steps differs from that of every other known optimizer.

    That of the optimizer that the traits name (``imitates``) must be followed.
    """
    own, twin = _path(subject), subject.traits.imitates
    followed = None
    if twin is not None:
        followed = _path_of(twin, _known(twin), _shared_options(subject, _known(twin)))
        likeness = _likeness(own, followed)
        assert likeness > 0.999, f"it should follow {twin}, but the cosine is {likeness:.6f}"
    for name, rival, options in _rivals(subject):
        if traits_of(rival).imitates == subject.name or name == twin:
            continue
        other = _path_of(name, rival, tuple(options.items()))
        if followed is not None and _likeness(followed, other) >= SAME:
            continue  # a twin of its twin
        likeness = _likeness(own, other)
        if likeness >= SAME:
            raise Finding(
                f"its updates are those of {name} (cosine {likeness:.6f}): it is not a method of its own",
                fix=f'a twin on purpose says so: traits = OptimizerTraits(imitates="{name}")',
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
