"""Traits that relax a rule, declared by optimizers of which they are not true."""

from typing import Any, ClassVar

import torch
from optim.testing.sound import Rate, Sound
from torch import Tensor

from ultra_optim.contract.traits import OptimizerTraits


class LosesRepeatedRows(Sound):
    """Of rows that occur twice in a sparse gradient, one is lost: as tokens of a batch do."""

    traits: ClassVar = OptimizerTraits(sparse_gradients=True)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    dense = torch.zeros_like(p)
                    dense[p.grad._indices()[0]] = p.grad._values()
                    p.grad = dense
        return super().step(closure)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        p.sub_(grad, alpha=group["lr"])


class RefusesWhatItClaims(Sound):
    traits: ClassVar = OptimizerTraits(sparse_gradients=True)


class RefusesWithoutAReason(Sound):
    """The reader of the message does not learn which layer to change."""

    def step(self, closure: Any = None) -> Any:
        if any(p.grad is not None and p.grad.is_sparse for g in self.param_groups for p in g["params"]):
            raise NotImplementedError("unsupported layout")
        return super().step(closure)


class MakesStateInTheFirstStep(Sound):
    """For all parameters, also those without gradient, and not in the constructor."""

    traits: ClassVar = OptimizerTraits(state_at_construction=True)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.momentum(p)
        return super().step(closure)


class AgesStateWithoutGradients(Sound):
    traits: ClassVar = OptimizerTraits(state_at_construction=True)

    def __init__(self, params: Any, *, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(momentum=torch.zeros_like(p), age=0)

    def step(self, closure: Any = None) -> Any:
        for state in self.state.values():
            state["age"] += 1
        return super().step(closure)


class ForgetsMoreThanRounding(Sound):
    """The momentum is an attribute, which no state dict holds."""

    traits: ClassVar = OptimizerTraits(exact_resume=False)

    def momentum(self, p: Tensor) -> Tensor:
        return self.__dict__.setdefault("momenta", {}).setdefault(p, torch.zeros_like(p))


class NeverComesToRest(Sound):
    """The learning rate is read once."""

    traits: ClassVar = OptimizerTraits(lr_in_momentum=True)

    def __init__(self, params: Any, *, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.rate = lr

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": self.rate})


class SkipsOtherDimensions(Sound):
    """Vectors are neither moved nor refused."""

    traits: ClassVar = OptimizerTraits(dimensions=(2,))

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.ndim == 2:
            super().move(p, grad, group)


class FollowsNobodyKnown(Sound):
    traits: ClassVar = OptimizerTraits(imitates="torch.optim.Signum")


class NesterovInDisguise(torch.optim.SGD):
    """It says that it is another library's SGD with the same options."""

    traits: ClassVar = OptimizerTraits(decay="coupled", gradient_scale="linear", imitates="sgd_momentum")

    def __init__(
        self, params: Any, *, lr: Rate = 1e-3, momentum: float = 0.9, weight_decay: Rate = 0.0
    ) -> None:
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay, nesterov=True)


class MovesInTheFirstStep(Sound):
    """Its first step is said to be idle, so that rules do not look at it."""

    traits: ClassVar = OptimizerTraits(idle_first_step=True)


class DecaysDecoupledWithoutTheRate(Sound):
    """The decay is said to be part of the gradient."""

    traits: ClassVar = OptimizerTraits(decay="coupled")

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        p.mul_(1 - group["weight_decay"])
        super().move(p, grad, {**group, "weight_decay": 0.0})


class DecaysBeforeTheStep(Sound):
    """The decay is said to be proximal, p / (1 + lr wd) after the step."""

    traits: ClassVar = OptimizerTraits(decay="proximal")


class DecaysInSecret(Sound):
    traits: ClassVar = OptimizerTraits(decay="none")


class DividesByTheNormOfItsMatrix(Sound):
    """One process would see the norm of its shard."""

    traits: ClassVar = OptimizerTraits(elementwise=True)

    def direction(self, grad: Tensor) -> Tensor:
        return grad / (grad.norm() + 1e-8)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, self.direction(grad), group)


class DividesByTheMeanOfItsRows(DividesByTheNormOfItsMatrix):
    """Shards are rows today, and nothing promises that."""

    def direction(self, grad: Tensor) -> Tensor:
        return grad / (grad.square().mean(-1, keepdim=True).sqrt() + 1e-8) if grad.ndim > 1 else grad


class DividesByTheMeanOfItsColumns(DividesByTheNormOfItsMatrix):
    def direction(self, grad: Tensor) -> Tensor:
        return grad / (grad.square().mean(0, keepdim=True).sqrt() + 1e-8) if grad.ndim > 1 else grad


class MovesMatricesTwiceAsFar(Sound):
    """A shard need not have as many dimensions."""

    traits: ClassVar = OptimizerTraits(elementwise=True)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": group["lr"] * (2 if p.ndim > 1 else 1)})


MUTANTS = [
    ("O37", DividesByTheNormOfItsMatrix),
    ("O37", DividesByTheMeanOfItsRows),
    ("O37", DividesByTheMeanOfItsColumns),
    ("O37", MovesMatricesTwiceAsFar),
    ("O8c", LosesRepeatedRows),
    ("O8c", RefusesWhatItClaims),
    ("O8c", RefusesWithoutAReason),
    ("O8b", MakesStateInTheFirstStep),
    ("O8b", AgesStateWithoutGradients),
    ("O4a", ForgetsMoreThanRounding),
    ("O15", NeverComesToRest),
    ("O11", SkipsOtherDimensions),
    ("O1", FollowsNobodyKnown),
    ("O1", NesterovInDisguise),
    ("O2a", MovesInTheFirstStep),
    ("O6", DecaysDecoupledWithoutTheRate),
    ("O6", DecaysBeforeTheStep),
    ("O6", DecaysInSecret),
]
