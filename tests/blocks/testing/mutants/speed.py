"""Loops over tokens in Python, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from blocks.testing.attention import Attention
from blocks.testing.recurrence import Recurrence
from torch import Tensor

from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.layout import Layout


class TakesSmallChunks(Recurrence):
    chunk = 4


class AsksEachToken(Attention):
    def allowed(self, layout: Layout) -> Tensor:
        rows = [[bool(real) for real in row] for row in layout.mask]
        return super().allowed(layout) & torch.tensor(rows)[:, None]


class ReadsTokenByToken(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        rows = (slice(t, t + 1) for t in range(q.shape[2]))
        allowed = allowed.expand(-1, -1, q.shape[2], -1)
        whole = super().attend
        return torch.cat([whole(q[:, :, row], k, v, allowed[:, :, row]) for row in rows], 2)


class _Running(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.cumsum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        total, sums = torch.zeros_like(grad[:, 0]), []
        for t in reversed(range(grad.shape[1])):
            total = total + grad[:, t]
            sums.append(total)
        return torch.stack(sums[::-1], 1) if sums else grad


class LoopsBackward(Attention):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        return super().forward(_Running.apply(self.enter(x, layout)), layout)


class FeedsTokenByToken(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        if layout is not None:
            return super().forward(x, layout)
        return torch.stack([super(FeedsTokenByToken, self).forward(x_t) for x_t in x.unbind(1)], 1)


MUTANTS = [
    ("B28", TakesSmallChunks),
    ("B28", AsksEachToken),
    ("B28", ReadsTokenByToken),
    ("B28", LoopsBackward),
    ("F15", FeedsTokenByToken),
]
