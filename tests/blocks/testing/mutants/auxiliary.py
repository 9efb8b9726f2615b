"""Faults of auxiliary losses: padding counts, packing counts, or nothing can be learnt from them."""

from __future__ import annotations

from typing import Any

import torch
from blocks.testing.attention import Attention
from torch import Tensor

from ultra_blocks.ffn.moe import MoE
from ultra_blocks.functional.experts import Routing
from ultra_blocks.layout import Layout


class Gated(Attention):
    """Attention with a loss for the size of its values, right as it stands."""

    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        layout = layout or Layout.full(x.shape[0], x.shape[1])
        values = self.qkv_proj(self.enter(x, layout)) + 1
        return (y, {"size": self.loss(values.square().mean(-1), layout)}) if self.training else y

    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return torch.where(layout.mask, sizes, 0.0).sum() / layout.mask.sum().clamp(min=1)


class CountsPadding(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return sizes.mean()


class DividesByTheColumns(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return torch.where(layout.mask, sizes, 0.0).mean()


class CountsRows(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        rows = torch.where(layout.mask, sizes, 0.0).sum(1)
        return (rows / layout.mask.sum(1).clamp(min=1).sqrt()).mean()


class IsNaNWithoutTokens(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return sizes[layout.mask].mean()


class IsCutOff(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return super().loss(sizes, layout).detach()


class HasALossForEachRow(Gated):
    def loss(self, sizes: Tensor, layout: Layout) -> Tensor:
        return torch.where(layout.mask, sizes, 0.0).sum(1)


class RoutesPadding(MoE):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        if layout is None or not self.training:
            return y
        return y[0], self._losses(self.route(layout.zero_padding(x).flatten(0, 1)))


class CannotLearnTheBalance(MoE):
    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        return {name: loss.detach() for name, loss in super()._losses(routing).items()}


class SumsItsLosses(MoE):
    """The losses grow with the number of tokens."""

    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        return {name: len(routing.logits) * loss for name, loss in super()._losses(routing).items()}


class HasLossesInEvaluation(MoE):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Any:
        y = super().forward(x, layout)
        if self.training:
            return y
        tokens = x.flatten(0, 1) if layout is None else x[layout.mask]
        return y, self._losses(self.route(tokens))


MUTANTS = [
    ("B25", CountsPadding),
    ("B25", DividesByTheColumns),
    ("B25", CountsRows),
    ("B25", IsNaNWithoutTokens),
    ("B25", IsCutOff),
    ("B25", HasALossForEachRow),
    ("F12", RoutesPadding),
    ("F12", CannotLearnTheBalance),
    ("F12", SumsItsLosses),
    ("F12", HasLossesInEvaluation),
]
