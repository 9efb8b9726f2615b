"""Rules about what optimizers share: memory of other instances, global random numbers."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
from torch import Tensor

from ultra_core.plugins.signatures import read_options
from ultra_optim.testing.subject import Bag, Subject, drive, gradients

SHAPES = ((6, 10), (12, 4), (7,))
STEPS = 6


def _bag(seed: int = 0) -> Bag:
    generator = torch.Generator().manual_seed(seed)
    return Bag([torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES])


def _other_options(subject: Subject) -> dict[str, Any]:
    """Return options that differ from the defaults."""
    return {"lr": 3e-3, "weight_decay": 0.2} | ({"betas": _fewer(subject)} if subject.has("betas") else {})


def _fewer(subject: Subject) -> Any:
    return tuple(0.9 * beta for beta in read_options(subject.cls)["betas"].default)


def shares_nothing(subject: Subject) -> None:
    """Two instances in one process move as if each were alone, whatever the options of the other.

    A deep copy of parameters and optimizer goes on as the original does, without touching it.

    Fix: create dicts, lists and caches in ``__init__`` or in ``self.state[p]``, not in the body of the class
    or of the module, and do not change ``self.defaults``.
    """
    supply = gradients(_bag().tensors(), STEPS)
    alone = _bag()
    drive(subject.build(alone, lr=1e-2), alone.tensors(), supply)
    first, second = _bag(), _bag(1)
    one = subject.build(first, lr=1e-2)
    other = subject.build(second, **_other_options(subject))
    for grads in supply:
        drive(other, second.tensors(), [[-2 * g for g in grads]])
        drive(one, first.tensors(), [grads])
    for a, e in zip(first.tensors(), alone.tensors(), strict=True):
        off = float((a - e).detach().abs().max())
        assert torch.equal(a, e), (
            f"{tuple(a.shape)} ends elsewhere, by {off:.1e}, where another instance is stepped in turn"
        )
    _copies_are_apart(subject, supply, alone)


def _copies_are_apart(subject: Subject, supply: list[list[Tensor]], alone: Bag) -> None:
    bag = _bag()
    optimizer = subject.build(bag, lr=1e-2)
    drive(optimizer, bag.tensors(), supply[:3])
    twin, copied = copy.deepcopy((bag, optimizer))
    try:
        for grads in supply[3:]:
            drive(copied, twin.tensors(), [grads])
    except AttributeError:  # torch copies groups and state of an optimizer, but no other attributes
        twin = alone
    drive(optimizer, bag.tensors(), supply[3:])
    for its, what in ((bag, "beside its deep copy"), (twin, "as a deep copy after three steps")):
        for a, e in zip(its.tensors(), alone.tensors(), strict=True):
            off = float((a - e).detach().abs().max())
            assert torch.equal(a, e), f"{tuple(a.shape)} ends elsewhere, by {off:.1e}, {what}"


def leaves_random_numbers_alone(subject: Subject) -> None:
    """``step()`` neither reads nor moves the global random generators: runs repeat, dropout stays as it was.

    Fix: draw from a ``torch.Generator`` of your own, seeded by an option and the step, or from
    ``ultra_optim.engine.seeded_random``.
    """
    ends: list[list[Tensor]] = []
    before_all = torch.random.get_rng_state(), random.getstate()
    try:
        for seed in (1, 2):
            torch.manual_seed(seed)
            random.seed(seed)
            bag = _bag()
            optimizer = subject.build(bag, lr=1e-2)
            before = torch.random.get_rng_state(), random.getstate()
            drive(optimizer, bag.tensors(), gradients(bag.tensors(), 3))
            assert torch.equal(before[0], torch.random.get_rng_state()), (
                "step() drew from torch's global random generator"
            )
            assert before[1] == random.getstate(), "step() drew from Python's global random generator"
            ends.append([p.detach() for p in bag.tensors()])
    finally:
        torch.random.set_rng_state(before_all[0])
        random.setstate(before_all[1])
    for one, other in zip(*ends, strict=True):
        off = float((one - other).abs().max())
        assert torch.equal(one, other), f"{tuple(one.shape)} differs by {off:.1e} between two runs"
