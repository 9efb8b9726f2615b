"""Softmax attention with rotations, a window and dropout that keeps every rule; mutants derive from it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits


class Attention(Mixer):
    """``y = W_o softmax(q k^T / sqrt(d)) v`` with rotated queries and keys, by two heads."""

    role: ClassVar[str] = "attention"
    traits: ClassVar[Traits] = Traits(recurrent_step=True)
    num_heads: ClassVar[int] = 2

    def __init__(
        self,
        hidden_size: int,
        *,
        causal: bool = False,
        window: int | None = None,
        base: float = 100.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        self.window = window
        self.base = base
        self.dropout = dropout
        self.head_dim = hidden_size // self.num_heads
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"qkv_proj.weight": (self.hidden_size,) * 3}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        q, k, v = self.project(self.enter(x, layout))
        angles = self.angles(layout, x.dtype)
        y = self.attend(rotate(q, angles), rotate(k, angles), v, self.allowed(layout)[:, None])
        return self.leave(self.out_proj(y.transpose(1, 2).flatten(2)), layout)

    def project(self, x: Tensor) -> list[Tensor]:
        """Return q, k and v ``(B, H, T, d)``."""
        parts = self.qkv_proj(x).chunk(3, -1)
        return [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        scores = (q @ k.mT * self.head_dim**-0.5).masked_fill(~allowed, torch.finfo(q.dtype).min)
        return self.drop(scores.softmax(-1)) @ v

    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout, self.training)

    def angles(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        """Return the angles ``(B, 1, T, d / 2)``, remembered by all that they depend on."""
        key = ("angles", self.head_dim, self.base, dtype)
        return layout.remember(key, lambda: self.angles_at(self.places(layout), dtype)[:, None])

    def places(self, layout: Layout) -> Tensor:
        return layout.positions

    def angles_at(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        half = self.head_dim // 2
        return places.to(wide)[..., None] * self.base ** -(torch.arange(half, dtype=wide) / half)

    def allowed(self, layout: Layout) -> Tensor:
        """Return the pairs ``(B, T, T)`` of queries and keys."""
        pairs = (layout.documents[:, :, None] == layout.documents[:, None]) & layout.mask[:, None]
        behind = layout.positions[:, :, None] - layout.positions[:, None]
        if self.window is not None:
            pairs = pairs & (behind.abs() <= self.window)
        return pairs & (behind >= 0) if self.causal else pairs

    def init_state(self, batch: int) -> tuple[Tensor, Tensor]:
        self.require_causal()
        empty = self.out_proj.weight.new_empty(batch, self.num_heads, 0, self.head_dim)
        return empty, empty

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.enter_step(x_t, state)
        q, k, v = self.project(x_t[:, None])
        keys, values = self.cached(torch.cat([state[0], k], 2), torch.cat([state[1], v], 2))
        count = keys.shape[2]
        first = 0 if self.window is None else max(0, count - 1 - self.window)
        angles = self.angles_at(torch.arange(count), x_t.dtype)[None, None]
        rotated = rotate(keys, angles)[:, :, first:]
        every = torch.ones(1, dtype=torch.bool)
        y = self.attend(rotate(q, angles[:, :, -1:]), rotated, values[:, :, first:], every)
        return self.out_proj(y.flatten(1)), (keys, values)

    def cached(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the state keeps of the keys, which are not rotated yet, and values."""
        return keys, values


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of features by angles."""
    a, b = x.chunk(2, -1)
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([a * cosines - b * sines, a * sines + b * cosines], -1)
