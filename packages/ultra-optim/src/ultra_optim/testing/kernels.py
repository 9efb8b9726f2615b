"""Rules about options that say how an update is computed, and about ``maximize``."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_optim.testing.subject import Subject, displacement, error, gradients

SHAPES = ((6, 10), (12, 4), (7,), ())
WAYS = ("foreach", "fused", "compile", "capturable", "differentiable")
"""Options of torch, and ours, that choose a kernel."""


def _start() -> list[Tensor]:
    return [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in SHAPES]


def has_ways(subject: Subject) -> bool:
    """Whether there is an option that chooses a kernel."""
    return any(map(subject.has, WAYS))


def agrees_with_itself(subject: Subject) -> None:
    """The options ``foreach``, ``fused``, ``compile`` and ``capturable`` change the speed and not the update.

    Values that the constructor or the first step refuses are left out.

    Fix: apply the same formula, in the same order, in every path: decay, averages, bias correction, step.
    """
    start = _start()
    small = [[1e-6 * g for g in grads] for grads in gradients(start, 4)]  # an eps in another place shows
    steps = small + gradients(start, 8)
    base = displacement(subject, start, steps, lr=1e-2, weight_decay=0.1)
    for option in filter(subject.has, WAYS):
        for value in (True, False):
            try:
                moved = displacement(subject, start, steps, lr=1e-2, weight_decay=0.1, **{option: value})
            except Exception:  # what a machine or a build of torch lacks, each in its own words
                continue
            for shape, a, b in zip(SHAPES, moved, base, strict=True):
                off = error(a, b)
                assert off < 1e-4, (
                    f"{option}={value}: {shape} moves differently than by default, by {off:.1e}"
                )


def maximises(subject: Subject) -> None:
    """``maximize=True`` moves as negative gradients do.

    Fix: negate the gradient before anything else, momentum and averages included.
    """
    start = _start()
    steps = gradients(start, 6)
    up = displacement(subject, start, steps, lr=1e-2, weight_decay=0.1, maximize=True)
    down = displacement(subject, start, [[-g for g in grads] for grads in steps], lr=1e-2, weight_decay=0.1)
    for shape, a, b in zip(SHAPES, up, down, strict=True):
        off = error(a, b)
        assert off < 1e-5, (
            f"with maximize=True {shape} moves differently than with negative gradients, by {off:.1e}"
        )
