"""The rule about gradients of any size, down to what ``eps`` explains."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_optim.testing.subject import Bag, Subject, drive, gradients

SCALES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
SHAPES = ((6, 10), (12, 4), (7,))

NEGLIGIBLE = 1e-20
"""An ``eps`` that is far below all gradients, but not below their squares."""

EXPLAINED = 300.0
"""How many times ``eps`` over the size of the gradients an update may differ by."""

SAME = 1e-3
LARGEST = 0.3
"""Differences that are explained but larger than this say nothing."""


def promises_a_scale(subject: Subject) -> bool:
    """Whether the traits say how updates depend on the size of gradients."""
    return subject.traits.gradient_scale != "other"


def holds_for_small_gradients(subject: Subject) -> None:
    """The declared ``gradient_scale`` holds from gradients of 1 down to 1e-12, but for the part of ``eps``.

    In float64 and float32, with an ``eps`` that is negligible, and with the default as far as it explains the
    difference. An ``eps`` inside a root acts on gradients of its root, ten thousand times earlier.

    Fix: divide by ``v.sqrt().add_(eps)`` instead of ``(v + eps).sqrt()``, make every constant that is added
    to a norm an option ``eps`` or declare it as ``traits.eps``, and clamp nothing at a size of its own.
    """
    default = _eps(subject)
    settings = [default] if subject.traits.eps or not default else [default, NEGLIGIBLE]
    # updates that shrink with the gradients are below the resolution of float32 parameters
    narrow = () if subject.traits.gradient_scale == "linear" else (torch.float32,)
    for dtype in (torch.float64, *narrow):
        for eps in settings:
            base = _moved(subject, 1.0, dtype, eps)
            for scale in SCALES:
                slack = EXPLAINED * eps / scale
                if slack > LARGEST:
                    continue
                factor = scale if subject.traits.gradient_scale == "linear" else 1.0
                for moved, expected in zip(_moved(subject, scale, dtype, eps), base, strict=True):
                    off = float((moved - factor * expected).norm() / (factor * expected).norm())
                    assert off <= SAME + slack, (
                        f"gradients of {scale:g} with eps {eps:g} in {dtype}: the displacement of "
                        f"{tuple(moved.shape)} differs by {off:.1e} from what those of 1 give, of which eps "
                        f"explains {slack:.0e}"
                    )


def _eps(subject: Subject) -> float:
    """Return the ``eps`` of the groups, if it is a number, and at least what the traits declare."""
    groups = subject.over([torch.ones(3, 3)], lr=1e-3).param_groups
    return max([subject.traits.eps, *(g["eps"] for g in groups if isinstance(g.get("eps"), float))])


def _moved(subject: Subject, scale: float, dtype: torch.dtype, eps: float) -> list[Tensor]:
    """Return the displacements, in float64, for gradients of about ``scale``, none of them near 0."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) * 1e-3 for s in SHAPES]
    steps = [[(g.sign() * (0.5 + g.abs())) * scale for g in grads] for grads in gradients(start, 5)]
    bag = Bag([t.clone() for t in start])
    optimizer = subject.build(bag, lr=1e-3, weight_decay=0.0)
    for group in optimizer.param_groups:
        if isinstance(group.get("eps"), float) and eps == NEGLIGIBLE:
            group["eps"] = eps
    drive(optimizer, bag.tensors(), steps)
    return [(p.detach() - t).double() for p, t in zip(bag.tensors(), start, strict=True)]
