"""Feed-forward networks that do not treat every token by itself, or every call alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout


class LeaksIntoGradients(MLP):
    def enter(self, x: Tensor, layout: Layout | None) -> Tensor:
        return x


class DrawsInEvaluation(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x, layout) * torch.rand(())


class HidesAConstant(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.register_buffer("constant", torch.ones(1), persistent=False)


MUTANTS: list[tuple[Any, ...]] = [
    ("F1", LeaksIntoGradients),
    ("F2", DrawsInEvaluation),
    ("F3", HidesAConstant),
]
