"""Formulas with one term wrong: the reference tells."""

from typing import Any, ClassVar

import torch
from optim.testing.sound_methods import SoundAdafactor, SoundAdamW, SoundLion, SoundMuon, SoundSGD
from torch import Tensor

from ultra_optim.reference import formulas


class WithoutBiasCorrection(SoundAdamW):
    reference: ClassVar = staticmethod(formulas.adamw)

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])


class OneStepOff(SoundAdamW):
    reference: ClassVar = "ultra_optim.reference.formulas:adamw"

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction({**state, "step": state["step"] + 1}, group)


class AddsEpsBeforeTheCorrection(SoundAdamW):
    """Of eps, a thirtieth is left in the first step."""

    reference: ClassVar = "ultra_optim.reference.formulas:adamw"

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        b1, b2 = group["betas"]
        root = (state["exp_avg_sq"].sqrt() + group["eps"]) / (1 - b2 ** state["step"]) ** 0.5
        return state["exp_avg"] / (1 - b1 ** state["step"]) / root


class SwapsTheBetas(SoundLion):
    reference: ClassVar = "ultra_optim.reference.formulas:lion"

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "betas": group["betas"][::-1]})


class HasOneBeta(SoundLion):
    reference: ClassVar = "ultra_optim.reference.formulas:lion"

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "betas": (group["betas"][0],) * 2})


class DampensTheMomentum(SoundSGD):
    reference: ClassVar = "ultra_optim.reference.formulas:sgd_momentum"

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad * (0.1 if self.state[p] else 1.0), group)


class ForgetsTheMeanOfTheRows(SoundAdafactor):
    """The outer product is not divided: too small by the mean of the squares."""

    reference: ClassVar = "ultra_optim.reference.factored:adafactor"

    def outer(self, row: Tensor, column: Tensor) -> Tensor:
        return torch.outer(row, column)


class IsTooLarge(SoundMuon):
    reference: ClassVar = "ultra_optim.reference.muon:muon"

    def orthogonal(self, part: Tensor) -> Tensor:
        return super().orthogonal(part) * 1.0001


class NamesNoFunction(SoundAdamW):
    reference: ClassVar = "ultra_optim.reference.formulas:adamv"


class KnowsNoTensor(SoundAdamW):
    """A reference that leaves out everything proves nothing."""

    @staticmethod
    def reference(p: Tensor, g: Tensor, state: dict[str, Any]) -> Tensor:
        raise NotImplementedError


MUTANTS = [
    ("O19", WithoutBiasCorrection),
    ("O19", OneStepOff),
    ("O19", AddsEpsBeforeTheCorrection),
    ("O19", SwapsTheBetas),
    ("O19", HasOneBeta),
    ("O19", DampensTheMomentum),
    ("O19", ForgetsTheMeanOfTheRows),
    ("O19", IsTooLarge),
    ("O19", NamesNoFunction),
    ("O19", KnowsNoTensor),
]
