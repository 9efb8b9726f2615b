"""State that is too narrow, or in the memory of others; what instances and generators share."""

import random
from typing import Any, ClassVar

import attrs
import torch
from optim.testing.sound_methods import SoundAdamW, SoundLion, SoundSGD
from torch import Tensor


class KeepsHalfOfTheMomentum(SoundLion):
    def momentum(self, p: Tensor) -> Tensor:
        self.state[p].setdefault("momentum", torch.zeros_like(p, dtype=torch.bfloat16))
        return self.state[p]["momentum"].to(p.dtype)

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, group)
        self.state[p]["momentum"].lerp_(grad.bfloat16(), 1 - group["betas"][1])


class CountsInHalf(SoundAdamW):
    """bfloat16 has no 257."""

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(p, state, group)
        state["step"] = torch.zeros((), dtype=torch.bfloat16)


class PromisesWideState(SoundAdamW):
    """The second moment of bfloat16 parameters does not move."""

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))


class KeepsTheGradientItself(SoundSGD):
    """The first momentum is the gradient, not a copy of it."""

    def momentum(self, p: Tensor) -> Tensor:
        return self.state[p].setdefault("momentum", torch.zeros_like(p))

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if self.state[p]:
            self.state[p]["momentum"] = self.state[p]["momentum"] * group["momentum"] + grad
        else:
            self.state[p]["momentum"] = grad
        p.sub_(self.state[p]["momentum"], alpha=group["lr"])


class ReadsTheLastGradientLater(SoundLion):
    """A reference to the last gradient is kept outside the state and read in the next step."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        last = self.__dict__.setdefault("last", {})
        super().move(p, grad + 0.1 * (grad - last.get(p, grad)), group)
        last[p] = grad


class KeepsTheParameterItself(SoundAdamW):
    """The initial weights are a view of the weights."""

    def start(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(p, state, group)
        state["first"] = p.detach()


class DecaysInTheGradient(SoundSGD):
    """The weight decay is added to ``p.grad`` itself, where it adds up if the gradient is kept."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        grad.add_(p, alpha=group["weight_decay"])
        super().move(p, grad, {**group, "weight_decay": 0.0})


class CountsForTheClass(SoundAdamW):
    """The default of an attribute is one dict for all instances."""

    counts: ClassVar[dict[tuple[int, ...], int]] = {}

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        shape = tuple(state["exp_avg"].shape)
        if state["step"] == 1:
            self.counts[shape] = 0
        self.counts[shape] += 1
        return super().direction({**state, "step": self.counts[shape]}, group)


class KeepsOptionsInTheClass(SoundLion):
    """The last instance decides about all."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas=betas, weight_decay=weight_decay)
        type(self).chosen = betas

    chosen: ClassVar[tuple[float, float]]

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "betas": self.chosen})


class DrawsFromTheGlobalGenerator(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        exact = super().direction(state, group)
        return exact * (1 + 1e-7 * torch.randn_like(exact))


class ReseedsTheGlobalGenerator(SoundAdamW):
    """Every step is repeatable, and so is the dropout of every step."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        torch.manual_seed(state["step"])
        return super().direction(state, group)


class DrawsFromPython(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return super().direction(state, group) * (1 + 1e-9 * random.random())


class AllowsNarrowCounts(CountsInHalf):
    """The trait is about state that is as large as the parameter."""

    traits: ClassVar = attrs.evolve(SoundAdamW.traits, state_dtype="any")


MUTANTS = [
    ("O28", KeepsHalfOfTheMomentum),
    ("O28", CountsInHalf),
    ("O28", AllowsNarrowCounts),
    ("O28", PromisesWideState),
    ("O10a", DecaysInTheGradient),
    ("O29", KeepsTheGradientItself),
    ("O29", ReadsTheLastGradientLater),
    ("O29", KeepsTheParameterItself),
    ("O30", CountsForTheClass),
    ("O30", KeepsOptionsInTheClass),
    ("O31", DrawsFromTheGlobalGenerator),
    ("O31", ReseedsTheGlobalGenerator),
    ("O31", DrawsFromPython),
]
