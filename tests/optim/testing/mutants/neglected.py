"""Small tensors, gradients of 0, vectors that decay, late decay, slow paths: what is easily forgotten."""

from typing import Any

from optim.testing.sound_methods import SoundAdamW, SoundLion, SoundSGD
from torch import Tensor


class SkipsScalars(SoundAdamW):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.ndim:
            super().move(p, grad, group)


class SkipsSingleElements(SoundSGD):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.numel() > 1:
            super().move(p, grad, group)


class MovesWithoutGradients(SoundLion):
    """The sign of 0 is taken for -1: rows of tokens that never occur drift."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        direction = self.momentum(p).lerp(grad.to(self.momentum(p).dtype), 1 - group["betas"][0])
        super().move(p, grad, group)
        p.add_((direction == 0).to(p.dtype), alpha=group["lr"])


class DecaysMatricesOnly(SoundAdamW):
    """A vector whose group has a weight decay keeps its size."""

    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if p.ndim > 1:
            super().decay(p, state, group)


class StopsToDecay(SoundLion):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        self.momentum(p)
        state = self.state[p]
        state["step"] = state.get("step", 0) + 1
        decay = group["weight_decay"] if state["step"] <= 100 else 0.0
        super().move(p, grad, {**group, "weight_decay": decay})


class AddsEpsElsewhereInItsLoop(SoundAdamW):
    """The slow path has ``eps`` inside the root."""

    def __init__(self, params: Any, lr: float = 1e-3, *, foreach: bool = True, **options: Any) -> None:
        super().__init__(params, lr, **options)
        self.foreach = foreach

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if self.foreach:
            return super().direction(state, group)
        b1, b2 = group["betas"]
        root = (state["exp_avg_sq"] / (1 - b2 ** state["step"]) + group["eps"]).sqrt()
        return state["exp_avg"] / (1 - b1 ** state["step"]) / root


MUTANTS = [
    ("O2a", SkipsScalars),
    ("O2a", SkipsSingleElements),
    ("O8b", MovesWithoutGradients),
    ("O26", DecaysMatricesOnly),
    ("O27", StopsToDecay),
    ("O35a", AddsEpsElsewhereInItsLoop),
]
