"""Weight decay that is right in the first step, and rates that are right in the first hundred."""

from typing import Any

import torch
from optim.testing.sound_methods import SoundAdamW, SoundLion, SoundSGD
from torch import Tensor


class DecaysByTheFirstRate(SoundAdamW):
    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        group.setdefault("first_rate", group["lr"])
        p.mul_(1 - group["first_rate"] * group["weight_decay"])


class DecaysByTheLargestRate(SoundAdamW):
    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        group["peak"] = max(group.get("peak", 0.0), group["lr"])
        p.mul_(1 - group["peak"] * group["weight_decay"])


class DecaysMoreAndMore(SoundAdamW):
    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"] * state["step"])


class DecaysLessAndLess(SoundAdamW):
    """The decay is part of what the bias correction divides."""

    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"] * 0.1 / (1 - group["betas"][0] ** state["step"]))


class DecaysWhereItStarted(SoundAdamW):
    """The part that is subtracted is always that of the initial weights."""

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(p, state, group)
        state["first"] = p.detach().clone()

    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        p.sub_(state["first"], alpha=group["lr"] * group["weight_decay"])


class DecaysInEverySecondStep(SoundAdamW):
    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if state["step"] % 2:
            super().decay(p, state, group)


class AddsTheDecayOnce(SoundSGD):
    """The gradient of the penalty is added to the momentum of the first step only."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        weight_decay = 0.0 if self.state[p] else group["weight_decay"]
        super().move(p, grad, {**group, "weight_decay": weight_decay})


class StopsReadingTheRate(SoundLion):
    """The rate is read during a warm-up of 100 steps."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if any(p.grad is not None for p in group["params"]):
                group["count"] = group.get("count", 0) + 1
        return super().step(closure)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if group["count"] <= 100:
            group["warm"] = group["lr"]
        super().move(p, grad, {**group, "lr": group["warm"]})


class NeverRaisesTheRate(SoundLion):
    """Warm restarts are ignored."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        group["lowest"] = min(group.get("lowest", group["lr"]), group["lr"])
        super().move(p, grad, {**group, "lr": max(group["lowest"], 0.0)})


class CountsInEightBits(SoundAdamW):
    """The bias correction starts again after 256 steps, by a division by 0."""

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(p, state, group)
        state["step"] = torch.zeros((), dtype=torch.uint8)

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return (
            super().direction({**state, "step": int(state["step"])}, group)
            if int(state["step"])
            else (torch.full_like(state["exp_avg"], float("nan")))
        )


MUTANTS = [
    ("O26", DecaysByTheFirstRate),
    ("O26", DecaysByTheLargestRate),
    ("O26", DecaysMoreAndMore),
    ("O26", DecaysLessAndLess),
    ("O26", DecaysWhereItStarted),
    ("O26", DecaysInEverySecondStep),
    ("O26", AddsTheDecayOnce),
    ("O27", StopsReadingTheRate),
    ("O27", NeverRaisesTheRate),
    ("O27", CountsInEightBits),
]
