"""Faults of what is kept: in the module, in the class, in the layout, and in tensors that were given."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from blocks.testing.attention import Attention
from torch import Tensor, nn

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout


class KeepsATableThatGrows(Attention):
    def angles_at(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        needed = int(places.max()) + 1 if places.numel() else 0
        table = getattr(self, "table", None)
        if table is None or len(table) < needed:
            self.table = super().angles_at(torch.arange(max(64, needed)), dtype)
            if table is not None:
                self.table = self.table.float()
        return self.table[places].to(dtype)


class KeepsFusedWeights(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        if self.training:
            self.fused = None
            return super().forward(x, layout)
        if getattr(self, "fused", None) is None:
            self.fused = self.out_proj.weight.detach().clone()
        y = super().forward(x, layout)
        return y + 0 * y if torch.equal(self.fused, self.out_proj.weight) else y * 1.01


class KeepsRunningStatistics(Attention):
    def __init__(self, hidden_size: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, causal=causal, dropout=dropout)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        if self.training:
            with torch.no_grad():
                self.scale.lerp_(y.abs().mean(), 0.1)
            return y
        return y * self.scale


class KeepsTheLastMask(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        last = getattr(self, "last", None)
        if last is None or last.shape != (*layout.mask.shape, layout.mask.shape[1]):
            self.last = super().allowed(layout)
        return self.last


class KeepsTablesOfInference(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if not hasattr(self, "ones"):
            self.ones = torch.ones(self.head_dim, dtype=q.dtype)
        return super().attend(q * self.ones, k, v, allowed)


class KeepsHiddenFeatures(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        before, self.before = getattr(self, "before", None), y.detach()
        return y if before is None or before.shape != y.shape else y + 1e-6 * before


class ForgetsTheWindowInItsKey(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        return layout.remember("allowed", lambda: super(ForgetsTheWindowInItsKey, self).allowed(layout))


class ForgetsTheDtypeInItsKey(Attention):
    def angles(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        key = ("angles", self.head_dim, self.base)
        return layout.remember(key, lambda: self.angles_at(layout.positions, dtype)[:, None])


class ForgetsTheBaseInItsKey(Attention):
    def angles(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        key = ("angles", self.head_dim, dtype)
        return layout.remember(key, lambda: self.angles_at(layout.positions, dtype)[:, None])


class ForgetsTheDirectionInItsKey(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        key = ("allowed", self.window)
        return layout.remember(key, lambda: super(ForgetsTheDirectionInItsKey, self).allowed(layout))


class SharesATableByLength(Attention):
    tables: ClassVar[dict[int, Tensor]] = {}

    def angles(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        if not layout.dense:
            return super().angles(layout, dtype)
        length = layout.mask.shape[1]
        if length not in self.tables:
            self.tables[length] = self.angles_at(torch.arange(length), dtype)[None, None]
        return self.tables[length].to(dtype)


class SharesATableThatGrows(Attention):
    table: ClassVar[Tensor | None] = None

    def angles_at(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        needed, cls = int(places.max()) + 1 if places.numel() else 0, type(self)
        if cls.table is None or len(cls.table) < needed or cls.table.shape[1] != self.head_dim // 2:
            cls.table = super().angles_at(torch.arange(max(64, needed)), dtype)
        return cls.table[places].to(dtype)


class AddsToItsInput(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        with torch.no_grad():
            wide = x.detach().float()
            wide -= wide.mean(-1, keepdim=True)
        return super().forward(x, layout)


class WritesIntoTheLayout(Attention):
    def places(self, layout: Layout) -> Tensor:
        return layout.positions.masked_fill_(~layout.mask, 1)


class ScalesItsGradientInPlace(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        return _Halved.apply(y)


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y * 0.5

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad.mul_(0.5)


class ReturnsABuffer(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        y = super().forward(x, layout)
        if torch.is_grad_enabled():
            return y
        if getattr(self, "space", None) is None or self.space.shape != y.shape or self.space.dtype != y.dtype:
            self.space = torch.empty_like(y)
        return self.space.copy_(y)


class ClampsAWeight(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        with torch.no_grad():
            self.out_proj.weight.clamp_(-0.1, 0.1)
        return super().forward(x, layout)


class NeedsContiguousRows(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x.view(-1).view(x.shape), layout)


class ReadsMemoryInOrder(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(x.as_strided(x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1)), layout)


class IsFastWithoutGradients(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().attend(q, k, v, allowed)
        return super().attend(q.float(), k.float(), v.float(), allowed).to(v.dtype)


class KeepsItsWeights(Attention):
    def drop(self, weights: Tensor) -> Tensor:
        self.weights = super().drop(weights)
        return self.weights


class HoldsTheOriginal(Attention):
    def __init__(self, hidden_size: int, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__(hidden_size, causal=causal, dropout=dropout)
        self.read_out = lambda y: self.out_proj(y)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        whole = layout or Layout.full(x.shape[0], x.shape[1])
        return self.leave(self.read_out(self.enter(x, whole)), whole) + super().forward(x, layout)


class CannotBePickled(MLP):
    def __init__(self, hidden_size: int, ffn_hidden_size: int) -> None:
        super().__init__(hidden_size, ffn_hidden_size)
        self.dropout = nn.Identity()
        self.dropout.register_forward_hook(lambda module, inputs, y: y)


MUTANTS = [
    ("B26", KeepsATableThatGrows),
    ("B26", KeepsFusedWeights),
    ("B26", KeepsRunningStatistics),
    ("B26", KeepsTheLastMask),
    ("B26", KeepsTablesOfInference),
    ("F13", KeepsHiddenFeatures),
    ("B26b", ForgetsTheWindowInItsKey),
    ("B26b", ForgetsTheDtypeInItsKey),
    ("B26b", ForgetsTheBaseInItsKey),
    ("B26b", ForgetsTheDirectionInItsKey),
    ("B26b", SharesATableByLength),
    ("B26b", SharesATableThatGrows),
    ("B27", AddsToItsInput),
    ("B27", WritesIntoTheLayout),
    ("B27", ScalesItsGradientInPlace),
    ("B27", ReturnsABuffer),
    ("B27", ClampsAWeight),
    ("B27b", NeedsContiguousRows),
    ("B27b", ReadsMemoryInOrder),
    ("B27b", IsFastWithoutGradients),
    ("B27c", KeepsItsWeights),
    ("B27c", HoldsTheOriginal),
    ("F14c", CannotBePickled),
]
