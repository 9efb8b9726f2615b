"""The rule about learning rates that change far into a run."""

from __future__ import annotations

import torch
from torch import Tensor

from ultra_core.testing import Finding
from ultra_optim.testing.subject import Bag, Subject, drive, error, gradients

SHAPES = ((6, 4), (5,))
CHANGES = {13: 0.25, 40: 3.0, 67: 3.0, 131: 0.25, 269: 0.25, 270: 3.0}
"""By number of the step, what the rate is multiplied by; 269 is beyond what counters of eight bits hold."""

DECAYS = (30, 200, 260)
"""Steps with weight decay."""

DECAY = 0.5


def follows_a_late_schedule(subject: Subject) -> None:
    """A new learning rate or decay holds in the very next step, also after hundreds of steps, up and down.

    In single steps the rate is multiplied by 0.25, as in a decay, and by 3, as after a warm restart; the
    parameters are then put where the constant rate leaves them. In others a decay is set that was 0.

    Fix: read ``group["lr"]`` and ``group["weight_decay"]`` in every step; never store them in
    state or on ``self``, nor their maximum.
    """
    constant, changed = _Run(subject), _Run(subject)
    for step in range(max(CHANGES) + 1):
        grads = gradients(constant.bag.tensors(), 1, seed=step)[0]
        decay = DECAY if step in DECAYS and _decays_apart(subject) else 0.0
        before = [p.detach().clone() for p in constant.bag.tensors()]
        expected, found = constant.step(grads), changed.step(grads, CHANGES.get(step, 1.0), decay)
        for one, other in zip(expected, found, strict=True):
            assert bool(torch.isfinite(one).all()), (
                f"step {step + 1} moves {tuple(one.shape)} to infinity or NaN"
            )
            if step in CHANGES:
                _compare(subject, one, other, CHANGES[step], step)
        if decay:
            for p, one, other in zip(before, expected, found, strict=True):
                _compare_decay(subject, p, one, other, step)
        if step in CHANGES or decay:
            changed.put(constant.bag)


def _decays_apart(subject: Subject) -> bool:
    """Whether the decay of a step can be told from its update."""
    traits = subject.traits
    return (
        traits.decay in ("decoupled", "proximal")
        and subject.has("weight_decay")
        and not traits.lr_in_momentum
    )


def _compare_decay(subject: Subject, p: Tensor, one: Tensor, other: Tensor, step: int) -> None:
    if not subject.takes(p):
        return
    rate = 1e-3 * DECAY
    shrunk = {
        "decoupled": (one - rate * p, one - rate * (p + one)),  # before or after the step
        "proximal": ((p + one) / (1 + rate) - p,),
    }[subject.traits.decay]
    off = min(float((other - way).norm()) for way in shrunk) / (rate * float(p.norm()))
    if off > 1e-3:
        raise Finding(
            f"step {step + 1}, the first with weight decay {DECAY:g}: {tuple(p.shape)} is off "
            f"{subject.traits.decay} decay by {off:.1e} of the decay"
        )


class _Run:
    def __init__(self, subject: Subject) -> None:
        generator = torch.Generator().manual_seed(0)
        self.bag = Bag([torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES])
        self.optimizer = subject.build(self.bag, lr=1e-3, weight_decay=0.0)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, grads: list[Tensor], factor: float = 1.0, decay: float = 0.0) -> list[Tensor]:
        """Take a step with a multiple of the learning rate and a decay; return the displacements."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate
            if "weight_decay" in group:
                group["weight_decay"] = decay
        before = [p.detach().clone() for p in self.bag.tensors()]
        drive(self.optimizer, self.bag.tensors(), [grads])
        return [p.detach() - old for p, old in zip(self.bag.tensors(), before, strict=True)]

    @torch.no_grad()
    def put(self, bag: Bag) -> None:
        """Set the parameters to those of another run."""
        for p, other in zip(self.bag.tensors(), bag.tensors(), strict=True):
            p.copy_(other)


def _compare(subject: Subject, one: Tensor, other: Tensor, factor: float, step: int) -> None:
    where = f"step {step + 1}, with {factor:g} times the learning rate: {tuple(one.shape)}"
    if torch.equal(one, other) and bool(one.any()):
        raise Finding(f"{where} moves as with the old rate")
    if (
        subject.traits.linear_in_lr
        and not subject.traits.lr_in_momentum
        and (off := error(other, factor * one)) > 1e-6
    ):
        share = float(other.norm() / one.norm())
        raise Finding(f"{where} moves {share:.3g} times as far, off by {off:.1e}")
