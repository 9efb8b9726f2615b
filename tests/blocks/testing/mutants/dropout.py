"""Faults of dropout, and of what surrounds training: generators and settings of the process."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from blocks.testing.attention import Attention
from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout


class IgnoresDropout(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return weights


class DropsInEvaluation(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout)


class DropsWithGradientsAlone(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout, torch.is_grad_enabled() and self.training)


class SharesOneMask(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return weights * F.dropout(torch.ones_like(weights[:1]), self.dropout, self.training)


class DropsTheSameInEveryCall(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if not self.training:
            return weights
        kept = torch.rand(weights.shape, generator=torch.Generator().manual_seed(0)) >= self.dropout
        return weights * kept / (1 - self.dropout)


class DropsByAnotherGenerator(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return weights
        g = torch.Generator().manual_seed(random.randrange(2**32))
        return weights * (torch.rand(weights.shape, generator=g) >= self.dropout) / (1 - self.dropout)


class ForgetsToScale(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return weights
        return weights * torch.empty_like(weights).bernoulli_(1 - self.dropout)


class ForgetsToScaleAComparison(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return weights
        return weights.masked_fill(torch.rand_like(weights) < self.dropout, 0.0)


class ScalesTwice(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        kept = F.dropout(weights, self.dropout, self.training)
        return kept / (1 - self.dropout) if self.training else kept


class HalvesTheRate(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout / 2, self.training)


class KeepsWhatItShouldDrop(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return weights
        return weights * (torch.rand_like(weights) < self.dropout) / self.dropout


class HasAFixedRate(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, 0.1, self.training and self.dropout > 0)


class ForgetsToScaleTheFFN(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return y * (1 - self.dropout.p) if self.training and isinstance(self.dropout, torch.nn.Dropout) else y


class DropsInEvaluationOfTheFFN(MLP):
    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.dropout.train()
        return self


class SeedsInForward(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        torch.manual_seed(0)
        return super().forward(x, layout)


class SeedsForDropout(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        if self.training and self.dropout:
            torch.manual_seed(int(weights.detach().sum()))
        return super().drop(weights)


class SeedsInTheConstructor(Attention):
    def __init__(self, hidden_size: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, causal=causal, dropout=dropout)
        random.seed(0)


class DrawsForNothing(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        return torch.where(torch.rand_like(weights) >= 0, super().drop(weights), 0.0)


class ShufflesByPython(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        random.random()
        return super().attend(q, k, v, allowed)


class TurnsGradientsOn(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        torch.set_grad_enabled(True)
        return super().forward(x, layout)


class SetsTheDefaultDtype(Attention):
    def angles_at(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        torch.set_default_dtype(dtype)
        return super().angles_at(places, dtype)


class SetsTheThreads(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().attend(q, k, v, allowed)


class DropsTwice(MLP):
    """The inner activations are dropped before and after the module that drops them."""

    def __init__(self, hidden_size: int, ffn_hidden_size: int, *, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, ffn_hidden_size, dropout=dropout)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        inner = F.gelu(self.up(self.enter(x, layout)))
        return self.leave(self.down(self.dropout(self.dropout(inner))), layout)


MUTANTS = [
    ("B23", IgnoresDropout),
    ("B23", DropsInEvaluation),
    ("B23", DropsWithGradientsAlone),
    ("B23", SharesOneMask),
    ("B23", DropsTheSameInEveryCall),
    ("B23", DropsByAnotherGenerator),
    ("B23b", ForgetsToScale),
    ("B23b", ForgetsToScaleAComparison),
    ("B23b", ScalesTwice),
    ("B23b", HalvesTheRate),
    ("B23b", KeepsWhatItShouldDrop),
    ("B23b", HasAFixedRate),
    ("F10", DropsInEvaluationOfTheFFN),
    ("F10b", ForgetsToScaleTheFFN),
    ("B24", SeedsInForward),
    ("B24", SeedsForDropout),
    ("B24", SeedsInTheConstructor),
    ("B24", DrawsForNothing),
    ("B24", ShufflesByPython),
    ("B24", TurnsGradientsOn),
    ("B24", SetsTheDefaultDtype),
    ("B24", SetsTheThreads),
    ("F10b", DropsTwice),
]
