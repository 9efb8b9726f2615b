"""Rules about parameters that join late, or have gradients in some steps only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ultra_core.testing import Finding
from ultra_optim.contract.checks import LAYOUT
from ultra_optim.testing.subject import Bag, Subject, cut_apart, error, gradients, take_step

SHAPES = ((20, 32), (12, 4), (8, 8), (64,))
"""Enough elements that a small change of a momentum turns some of their signs."""
STEPS = 12
SAME = 1e-9
"""Largest relative difference of displacements in float64; a wrong count changes them by 1e-3 or more."""

PRESENT = {
    "always": range(STEPS),
    "from step 6 on": range(5, STEPS),
    "in every second step": range(0, STEPS, 2),
    "in the first and the last step": (0, STEPS - 1),
}
"""Steps in which a parameter has a gradient: layers that are unfrozen, experts that get no token."""


def start_of(shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    """Return the same tensors each time, in float64."""
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def counts_apart(subject: Subject) -> bool:
    """Whether the traits say that the update of a parameter depends on no other parameter."""
    return not (subject.traits.common_steps or subject.traits.common_norm)


def counts_each_parameter(subject: Subject) -> None:
    """A parameter moves as if the steps in which it has no gradient did not exist.

    One starts late, one has gradients in every second step, one in the first and the last; each is compared
    with the same gradients in consecutive steps, so that counts, bias corrections and averages are its own.

    Fix: keep the count in ``self.state[p]`` and raise it where ``p.grad`` is not None, never in the group
    or the optimizer; declare ``common_steps=True`` if the method shares its count, distance or curvature.
    """
    index, when, worst = _worst(subject)
    assert worst <= SAME, (
        f"the {SHAPES[index]} tensor with gradients {when} moves differently than with the same gradients in "
        f"consecutive steps: by {worst:.1e} of its displacement"
    )


def shares_steps(subject: Subject) -> bool:
    """Whether a parameter that misses steps moves differently from one that does not."""
    return _worst(subject)[2] > SAME


def _worst(subject: Subject) -> tuple[int, str, float]:
    """Return the worst tensor, when it has gradients, and by how much it differs from one without gaps."""
    found = []
    for index in (0, 1, 3):  # the first and the second of a group, and a vector
        for when, present in list(PRESENT.items())[1:]:
            late = _displaced(subject, {index: present})
            dense = _displaced(subject, {index: range(len(present))}, len(present))
            found.append((index, when, error(late[index], dense[index])))
    return max(found, key=lambda item: item[2])


def _displaced(subject: Subject, present: dict[int, Any], steps: int = STEPS) -> list[Tensor]:
    """Return the displacements where tensors have gradients in the given steps, by default in all."""
    start = start_of()
    bag = Bag([t.clone() for t in start])
    # a distance that all share grows only where the first one is not too short
    optimizer = subject.build(bag, lr=1e2 if subject.traits.one_lr else 1e-2, weight_decay=0.1)
    taken = dict.fromkeys(present, 0)
    supply = gradients(start, STEPS)
    for step in range(steps):
        for index, p in enumerate(bag.tensors()):
            if index not in present:
                p.grad = supply[step][index].clone()
            elif step in present[index]:
                p.grad = supply[taken[index]][index].clone()
                taken[index] += 1
            else:
                p.grad = None
        take_step(optimizer)
    return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]


def starts_added_groups_anew(subject: Subject) -> None:
    """A group that is added after five steps moves as in a new optimizer, with the same options.

    Fix: create state where a parameter has none, and read every option from the group in ``step()``.
    """
    for own in (False, True):
        late, fresh, old, undisturbed = _with_added_group(subject, own=own)
        options = "options of its own" if own else "the default options"
        if float(late.abs().max()) == 0:
            raise Finding(f"a group with {options} that was added after five steps does not move")
        if counts_apart(subject):
            worst = error(late, fresh)
            assert worst <= SAME, (
                f"a group with {options} that was added after five steps moves differently than in a new "
                f"optimizer: by {worst:.1e} of its displacement"
            )
            worst = max(error(a, b) for a, b in zip(old, undisturbed, strict=True))
            assert worst <= SAME, f"adding a group changed how the others move, by {worst:.1e}"


def _with_added_group(subject: Subject, *, own: bool) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Return how an added tensor and those before it move, each followed by how they do without the other."""
    joined = _grown(subject, [(0, 1)] * 5 + [(0, 1, 2)] * 4, own=own, join=5)
    alone = _grown(subject, [(2,)] * 4, own=own, join=0, first=5)
    without = _grown(subject, [(0, 1)] * 9, own=own)
    return joined[2], alone[2], joined[:2], without[:2]


def _grown(
    subject: Subject, active: Sequence[tuple[int, ...]], *, own: bool, join: int | None = None, first: int = 0
) -> list[Tensor]:
    """Return the displacements of three tensors, the last of which is added before step ``join``.

    Args:
        subject: the optimizer under test.
        active: which tensors have gradients, for each step.
        own: whether the added group has options of its own.
        join: the step, which counts from 0; at 0 the optimizer has no other group; None: it is never added.
        first: which of the gradients are those of the first step.
    """
    start = start_of(SHAPES[:3])
    bag = Bag([t.clone() for t in start])
    groups = cut_apart(subject, bag, lr=1e-2, weight_decay=0.1).param_groups
    alone = join == 0 and not subject.traits.needs_logits  # a head has to be there for those
    first_groups = [_added(groups[-1], subject, own=own)] if alone else groups[:-1]
    optimizer: Any = subject.over_groups(first_groups, model=bag)
    for step, (moving, grads) in enumerate(zip(active, gradients(start, 9)[first:], strict=False)):
        if step == join and not alone:
            optimizer.add_param_group(_added(groups[-1], subject, own=own))
        for index, (p, grad) in enumerate(zip(bag.tensors(), grads, strict=True)):
            p.grad = grad.clone() if index in moving else None
        take_step(optimizer)
    return [p.detach() - t for p, t in zip(bag.tensors(), start, strict=True)]


def _added(group: dict[str, Any], subject: Subject, *, own: bool) -> dict[str, Any]:
    """Return a group for :meth:`add_param_group`: the parameter and its kind, with two options if ``own``."""
    plain = {key: value for key, value in group.items() if key in ("params", "param_names", *LAYOUT)}
    if not own:
        return plain
    plain["lr"] = 3e-3
    if "betas" in group:
        plain["betas"] = tuple(0.9 * beta for beta in group["betas"])
    elif "momentum" in group:
        plain["momentum"] = 0.9 * group["momentum"]
    return plain
