"""The rule that options of a group act as those of the constructor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ultra_core.testing import Finding
from ultra_core.testing.variations import variations
from ultra_optim.contract.checks import LAYOUT
from ultra_optim.testing.kernels import WAYS
from ultra_optim.testing.subject import Bag, Subject, drive, error, gradients

SHAPES = ((6, 4), (7,))
STEPS = 3
BASE: Mapping[str, Any] = {"lr": 1e-2, "weight_decay": 0.1, "total_steps": 100}
SAME = 1e-6


def groups_have_options(subject: Subject) -> None:
    """An option that is set in the parameter groups acts as that of the constructor.

    Every option that the groups have is tried by itself, as roles of a preset set them; on matrices alone
    where others have options of their own.

    Fix: read ``group["betas"]`` in ``step()``, not ``self.betas`` or ``self.defaults["betas"]``; what all
    groups share does not belong into the defaults that are passed to ``super().__init__``.
    """
    given = {n: v for n, v in BASE.items() if subject.has(n)} | dict(subject.options)
    shared = set(_start_groups(subject, given)[1][0])
    tried = variations(
        subject.cls, given, lambda options: _path(subject, given | dict(options), 0), skip=set(WAYS)
    )
    for variation in tried:
        name = variation.name
        if variation.refusal or set(variation.arguments) != {name} or name not in shared:
            continue
        wanted = _path(subject, given | dict(variation.arguments))
        found = _path(subject, given, inside=variation.arguments)
        own = 1 if subject.traits.matrix else len(SHAPES)
        worst = max(error(a, b) for a, b in zip(found[:own], wanted[:own], strict=True))
        if worst > SAME:
            raise Finding(
                f"{variation} in every group moves otherwise than as an option of the constructor: by "
                f"{worst:.1e} of the displacement"
            )


def _start_groups(subject: Subject, options: Mapping[str, Any]) -> tuple[Bag, list[dict[str, Any]]]:
    generator = torch.Generator().manual_seed(7)
    start = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
    bag = Bag(start, logit=125.0)
    return bag, subject.build(bag, **options).param_groups


def _path(
    subject: Subject, options: Mapping[str, Any], steps: int = STEPS, inside: Mapping[str, Any] | None = None
) -> list[Tensor]:
    """Return the displacements by an optimizer with these options, others of which are set in its groups."""
    bag, groups = _start_groups(subject, options)
    plain = [
        {key: value for key, value in group.items() if key in ("params", "param_names", *LAYOUT)}
        | dict(inside or {})
        for group in groups
    ]
    supplied = {name: value for name, value in options.items() if name != "total_steps" or subject.has(name)}
    if subject.has("model"):
        supplied["model"] = bag
    before = [p.detach().clone() for p in bag.tensors()]
    optimizer = subject.cls(plain, **supplied)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), steps))
    return [p.detach() - old for p, old in zip(bag.tensors(), before, strict=True)]
