"""Counts, averages and options of parameters that join late or miss steps."""

from typing import Any

import torch
from optim.testing.sound_methods import SoundAdamW, SoundLion
from torch import Tensor


class CountsForTheGroup(SoundAdamW):
    """The bias correction of a layer that is unfrozen late is that of the others."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if any(p.grad is not None for p in group["params"]):
                group["count"] = group.get("count", 0) + 1
        return super().step(closure)

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction({**state, "step": group["count"]}, group)


class CountsStepsWithoutGradient(SoundAdamW):
    """Experts that get no tokens grow older."""

    def step(self, closure: Any = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        if any(p.grad is not None for p in parameters):
            for p in parameters:
                if p.grad is None and self.state[p]:
                    self.state[p]["step"] += 1
        return super().step(closure)


class DecaysMomentaWithoutGradient(SoundLion):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        if any(p.grad is not None for p in parameters):
            for p in parameters:
                if p.grad is None and self.state[p]:
                    self.momentum(p).mul_(0.99)
        return super().step(closure)


class StartsAtTheCountOfOthers(SoundAdamW):
    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(p, state, group)
        state["step"] = max((int(s["step"]) for s in self.state.values() if s), default=0)


class KnowsTheFirstParametersOnly(SoundLion):
    """The list of parameters is made in the constructor."""

    def __init__(self, params: Any, lr: float = 1e-4, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.known = {p for group in self.param_groups for p in group["params"]}

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p in self.known:
            super().move(p, grad, group)


class TakesTheOptionsOfTheFirstGroup(SoundAdamW):
    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        super().average(state, grad, {**group, "betas": self.param_groups[0]["betas"]})


class TakesTheCountOfTheFirstParameter(SoundAdamW):
    """Right as long as all parameters started together."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        first = self.state[group["params"][0]] or state
        return super().direction({**state, "step": max(first["step"], 1)}, group)


MUTANTS = [
    ("O20", CountsForTheGroup),
    ("O20", CountsStepsWithoutGradient),
    ("O20", DecaysMomentaWithoutGradient),
    ("O20", TakesTheCountOfTheFirstParameter),
    ("O21", StartsAtTheCountOfOthers),
    ("O21", KnowsTheFirstParametersOnly),
    ("O21", TakesTheOptionsOfTheFirstGroup),
]
