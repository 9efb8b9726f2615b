"""Options that are ignored, or act in part; twins that follow with the default options only."""

from typing import Any, ClassVar

import attrs
from optim.testing.sound_methods import SoundAdamW, SoundLion, SoundMuon, SoundSGD
from torch import Tensor

from ultra_optim.contract.traits import OptimizerTraits


class IgnoresEps(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction(state, {**group, "eps": 1e-8})


class IgnoresTheSecondBeta(SoundAdamW):
    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        super().average(state, grad, {**group, "betas": (group["betas"][0], 0.999)})

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction(state, {**group, "betas": (group["betas"][0], 0.999)})


class IgnoresNesterov(SoundSGD):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay)


class IgnoresTheMomentum(SoundMuon):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "momentum": 0.95})


class SaysThatEpsIsSpeed(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, speed_only=frozenset({"eps"}))


class FollowsWithItsDefaultsOnly(SoundAdamW):
    """The second moment has the decay rate that the first one should have for it to be 0.999."""

    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        b1, _ = group["betas"]
        super().average(state, grad, {**group, "betas": (b1, 1 - (1 - b1) / 100)})


class HasOtherNumbers(SoundAdamW):
    """AdamW with other numbers is AdamW."""

    traits: ClassVar[OptimizerTraits] = attrs.evolve(SoundAdamW.traits, imitates=None)

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.01) -> None:
        super().__init__(params, lr, betas=(0.87, 0.963), weight_decay=weight_decay)


class IsLionWithOtherNumbers(SoundLion):
    traits: ClassVar[OptimizerTraits] = attrs.evolve(SoundLion.traits, imitates=None)

    def __init__(self, params: Any, lr: float = 1e-4, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, betas=(0.93, 0.975), weight_decay=weight_decay)


class IsHeavyBallWithOtherNumbers(SoundSGD):
    traits: ClassVar[OptimizerTraits] = attrs.evolve(SoundSGD.traits, imitates=None)

    def __init__(self, params: Any, lr: float = 1e-2, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, momentum=0.83, weight_decay=weight_decay)


class IsMuonWithOtherNumbers(SoundMuon):
    traits: ClassVar[OptimizerTraits] = attrs.evolve(SoundMuon.traits, imitates=None)

    def __init__(
        self, params: Any, lr: float = 1e-3, *, momentum: float = 0.9, weight_decay: float = 0.1
    ) -> None:
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay)


class SwapsTheBetasOfItsTwin(SoundLion):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "betas": group["betas"][::-1]})


MUTANTS = [
    ("O33", IgnoresEps),
    ("O33", IgnoresTheSecondBeta),
    ("O33", IgnoresNesterov),
    ("O33", IgnoresTheMomentum),
    ("O33", SaysThatEpsIsSpeed),
    ("O1", FollowsWithItsDefaultsOnly),
    ("O1", HasOtherNumbers),
    ("O1", IsLionWithOtherNumbers),
    ("O1", IsHeavyBallWithOtherNumbers),
    ("O1", IsMuonWithOtherNumbers),
    ("O1", SwapsTheBetasOfItsTwin),
]
