"""Traits that are not true, and methods of curvature that say or use too little."""

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import torch
from optim.testing.sound_methods import SoundAdamW, SoundLion
from torch import Tensor

from ultra_optim import Sophia
from ultra_optim.contract.checks import Checked


class ClaimsToChangeGradients(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, changes_gradients=True)


class ClaimsToMixElements(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, whole_tensors=True)


class ClaimsToShareSteps(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, common_steps=True)


class ClaimsToFindItsStep(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, one_lr=True)


class ClaimsToScheduleItself(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, own_schedule=True)


class ClaimsACommonNorm(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, common_norm=True)


class ClaimsAnInitialRate(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, initial_lr=True, own_schedule=True)


class ClaimsToRefuseEmptyOnes(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, empty_parameters=False)


class ClaimsAnOptionForTheLength(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, needs_total_steps=True)


class IgnoresTheLength(SoundLion):
    traits: ClassVar = attrs.evolve(SoundLion.traits, needs_total_steps=True)

    def __init__(
        self, params: Any, lr: float = 1e-4, *, weight_decay: float = 0.0, total_steps: int = 100
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class NamesNoOption(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, speed_only=frozenset({"foreach"}))


class SaysYes(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, linear_in_lr="yes")


class StartsIdle(SoundLion):
    """The first step is idle, which no trait says."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        first = not self.state[p]
        super().move(p, grad, {**group, "lr": 0.0} if first else group)


class HidesItsCurvature(Sophia):
    traits: ClassVar = attrs.evolve(Sophia.traits, needs_curvature=False)


class SaysNothingOfCurvature(Sophia):
    """Sign descent for ever, in silence."""

    def prepare(self) -> None:
        Checked.prepare(self)


class WarnsOfSomethingElse(Sophia):
    def prepare(self) -> None:
        Checked.prepare(self)
        if self.curvature_due:
            raise RuntimeError("Sophia: step() is not possible now")


class ExplodesWithoutCurvature(SaysNothingOfCurvature):
    """What is divided by eps is not clipped."""

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        super().update(group, params)
        for p in params:
            if self.state[p] and not bool(self.state[p]["curvature"].any()):
                p.sub_(p.grad / (1e-6 + self.state[p]["curvature"]), alpha=group["lr"])  # type: ignore[operator]


class DropsItsCurvature(Sophia):
    """The pass is run, and its gradients are cleared."""

    def curvature_step(self, closure: Callable[[], float]) -> None:
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            group["estimated_at"] = group["steps"]
        self.zero_grad()


MUTANTS = [
    ("O32", ClaimsToChangeGradients),
    ("O32", ClaimsToMixElements),
    ("O32", ClaimsToShareSteps),
    ("O32", ClaimsToFindItsStep),
    ("O32", ClaimsToScheduleItself),
    ("O32", ClaimsACommonNorm),
    ("O32", ClaimsAnInitialRate),
    ("O11", ClaimsToRefuseEmptyOnes),
    ("O32", ClaimsAnOptionForTheLength),
    ("O32", IgnoresTheLength),
    ("O32", NamesNoOption),
    ("O32", SaysYes),
    ("O32", StartsIdle),
    ("O32", HidesItsCurvature),
    ("O34a", SaysNothingOfCurvature),
    ("O34a", WarnsOfSomethingElse),
    ("O34a", ExplodesWithoutCurvature),
    ("O34b", DropsItsCurvature),
]
