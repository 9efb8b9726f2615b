"""The rule about weight decay over many steps, in which the rate and the decay change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ultra_core.contracts import ParamInfo
from ultra_core.testing import Finding
from ultra_optim.testing.subject import Bag, Subject, error, gradients, take_step

SHAPES = ((6, 10), (12, 4), (7,))
STEPS = 12
DECAY = 0.3
SAME = 1e-6


def rate_factor(step: int) -> float:
    """Return a learning rate, relative to the first, that falls, starts again and exceeds the first."""
    return (1.0, 0.7, 0.4, 0.1, 1.5, 1.2)[step % 6]


def decay_factor(step: int) -> float:
    """Return the weight decay relative to the first."""
    return 1.0 if step < STEPS // 2 else 2.0


def promises_a_path(subject: Subject) -> bool:
    """Whether the path with weight decay follows from one without."""
    return subject.traits.decay in ("decoupled", "proximal", "coupled") and subject.has("weight_decay")


def decays_in_every_step(subject: Subject) -> None:
    """Weight decay is that of the traits in each of twelve steps, with the rate and the decay of that step.

    ``decoupled`` and ``proximal``: the path is computed from that without decay. ``coupled``: it is the path
    without decay of gradients to which ``weight_decay * p`` was added. Vectors in a group that decays do too.

    Fix: decay once a step by ``p.mul_(1 - group["lr"] * group["weight_decay"])`` with the values
    that the group has now, and from ``p`` alone, not from state; declare ``decay="inside"`` if the update
    itself depends on it.
    """
    orders: tuple[bool, ...] = (True, False) if subject.traits.decay == "decoupled" else (True,)
    found = [_first_difference(subject, before=before) for before in orders]
    if all(found):
        raise Finding(found[0])


def _first_difference(subject: Subject, *, before: bool) -> str:
    """Return where the path first differs, with decay before or after the step; empty: nowhere."""
    start = [torch.randn(s, generator=torch.Generator().manual_seed(0), dtype=torch.float64) for s in SHAPES]
    if subject.traits.decay == "coupled":
        actual = _path(subject, start, DECAY)
        expected = _path(subject, start, 0.0, lambda p, step: DECAY * decay_factor(step) * p)
    else:
        actual, plain = _path(subject, start, DECAY), _path(subject, start, 0.0)
        first = 1 if subject.traits.idle_first_step else 0
        expected = [*actual[: first + 1]]
        for step in range(first, STEPS):
            expected.append(_decayed(subject, plain, expected[-1], step, before=before))
    for step in range(STEPS):
        pairs = zip(actual[step + 1], expected[step + 1], SHAPES, strict=True)
        for a, e, shape in pairs:
            if subject.takes(a) and (off := error(a, e)) > SAME:
                return (
                    f"step {step + 1}: {shape} with weight decay {DECAY * decay_factor(step):g} and "
                    f"{rate_factor(step):g} times the first learning rate is off "
                    f"{subject.traits.decay} decay by {off:.1e} of its size"
                )
    return ""


def _decayed(
    subject: Subject, plain: list[list[Tensor]], weights: list[Tensor], step: int, *, before: bool
) -> list[Tensor]:
    """Return the weights after a step of the path without decay that starts at ``weights``."""
    strength = 1e-2 * rate_factor(step) * DECAY * decay_factor(step)
    moves = [new - old for new, old in zip(plain[step + 1], plain[step], strict=True)]
    if subject.traits.decay == "proximal":
        return [(p + u) / (1 + strength) for p, u in zip(weights, moves, strict=True)]
    if not before:
        return [(1 - strength) * (p + u) for p, u in zip(weights, moves, strict=True)]
    return [(1 - strength) * p + u for p, u in zip(weights, moves, strict=True)]


def _path(
    subject: Subject,
    start: list[Tensor],
    weight_decay: float,
    extra: Callable[[Tensor, int], Tensor | float] = lambda p, step: 0.0,
) -> list[list[Tensor]]:
    """Return the weights before the first step and after each; ``extra`` is added to gradients."""
    infos = {f"p{i}": ParamInfo(kind="matrix" if t.ndim == 2 else "vector") for i, t in enumerate(start)}
    bag = Bag([t.clone() for t in start], infos)
    optimizer = subject.build(bag, lr=1e-2, weight_decay=weight_decay)
    points = [start]
    for step, grads in enumerate(gradients(start, STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * rate_factor(step)
            if "weight_decay" in group:
                group["weight_decay"] = weight_decay * decay_factor(step)
        for p, grad in zip(bag.tensors(), grads, strict=True):
            p.grad = grad + extra(p.detach(), step)
        take_step(optimizer)
        points.append([p.detach().clone() for p in bag.tensors()])
    return points
