"""Faults that show with small gradients only."""

from typing import Any

import torch
from optim.testing.sound_methods import SoundAdafactor, SoundAdamW, SoundMuon
from torch import Tensor


class PutsEpsInsideTheRoot(SoundAdamW):
    """As large as gradients of 1e-4, where 1e-8 was meant."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        b1, b2 = group["betas"]
        second = state["exp_avg_sq"] / (1 - b2 ** state["step"])
        return state["exp_avg"] / (1 - b1 ** state["step"]) / (second + group["eps"]).sqrt()


class ClampsTheRoot(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        b1, b2 = group["betas"]
        root = (state["exp_avg_sq"] / (1 - b2 ** state["step"])).sqrt()
        return state["exp_avg"] / (1 - b1 ** state["step"]) / root.clamp_min(1e-6)


class SkipsSmallGradients(SoundAdamW):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if float(grad.abs().max()) > 1e-9:
            super().move(p, grad, group)


class UnderflowsInTheOuterProduct(SoundAdafactor):
    """Means of squares are multiplied before they are divided."""

    def outer(self, row: Tensor, column: Tensor) -> Tensor:
        return torch.outer(row, column) / row.mean()


class AddsAConstantToTheNorm(SoundMuon):
    """As torch's Muon does, where it is an option."""

    def orthogonal(self, part: Tensor) -> Tensor:
        norm = part.norm()
        return super().orthogonal(part) * norm / (norm + 1e-7)


class RoundsSquares(SoundAdamW):
    """Squares pass through float16."""

    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        state["exp_avg"].lerp_(grad, 1 - b1)
        state["exp_avg_sq"].lerp_(grad.square().clamp(max=6e4).half().to(grad.dtype), 1 - b2)


MUTANTS = [
    ("O25", PutsEpsInsideTheRoot),
    ("O25", ClampsTheRoot),
    ("O25", SkipsSmallGradients),
    ("O25", UnderflowsInTheOuterProduct),
    ("O25", AddsAConstantToTheNorm),
    ("O25", RoundsSquares),
]
