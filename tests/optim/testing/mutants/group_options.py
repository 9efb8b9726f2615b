"""Options that are read from the constructor, so that those of a group do not act."""

from typing import Any

from optim.testing.sound_methods import SoundAdamW, SoundLion, SoundSGD
from torch import Tensor


class ReadsBetasFromTheDefaults(SoundAdamW):
    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        super().average(state, grad, {**group, "betas": (group["betas"][0], self.defaults["betas"][1])})

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction(state, {**group, "betas": (group["betas"][0], self.defaults["betas"][1])})


class ReadsEpsFromTheDefaults(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction(state, {**group, "eps": self.defaults["eps"]})


class ReadsMomentumFromTheDefaults(SoundSGD):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "momentum": self.defaults["momentum"]})


class KeepsItsBetas(SoundLion):
    """The rates are attributes of the optimizer, and in the groups for show."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "betas": vars(self).setdefault("betas", self.defaults["betas"])})


MUTANTS = [
    ("O36", ReadsBetasFromTheDefaults),
    ("O36", ReadsEpsFromTheDefaults),
    ("O36", ReadsMomentumFromTheDefaults),
    ("O36", KeepsItsBetas),
]
