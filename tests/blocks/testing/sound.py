"""A plain block that keeps every rule and has an option of each type; mutants are subclasses of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_core.contracts import ParamInfo, Range
from ultra_core.plugins.signatures import require

Gate = Literal["sigmoid", "swish", "tanh"]


def sound(
    x: Tensor,
    state: Mapping[str, Tensor],
    *,
    num_heads: int,
    causal: bool,
    window: int | None,
    gate: Gate,
    eps: float,
    **_: Any,
) -> Tensor:
    """Return the output ``(T, D)`` of one document ``(T, D)``."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)

    q, k, v = (torch.stack(part.chunk(num_heads, -1)) for part in linear(x, "qkv_proj").chunk(3, -1))
    back = torch.arange(len(x))[:, None] - torch.arange(len(x))
    hidden = (back < 0) & causal | (back.abs() > (len(x) if window is None else window))
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
    y = torch.cat(list(scores.softmax(-1) @ v), -1)
    y = y / ((y * y).mean(-1, keepdim=True) + eps) ** 0.5 * state["gain"]
    z = linear(x, "gate_proj")
    opening = torch.tanh(z) if gate == "tanh" else torch.sigmoid(z) * (z if gate == "swish" else 1)
    return linear(opening * y, "out_proj")


class Sound(Mixer):
    """Softmax attention with a norm of its outputs and a gate: ``W_o (gate(W_g x) * norm(attention))``."""

    role: ClassVar[str] = "attention"
    reference: ClassVar = sound
    traits: ClassVar[Traits] = Traits(symmetric=True, speed_only=frozenset({"chunk_size"}))

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, Range(min=1)] = 2,
        causal: bool = False,
        window: Annotated[int | None, Range(min=1)] = None,
        gate: Gate = "sigmoid",
        dropout: Annotated[float, Range(min=0, lt=1)] = 0.0,
        eps: Annotated[float, Range(gt=0)] = 1e-6,
        bias: bool = False,
        chunk_size: Annotated[int, Range(min=1)] = 64,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        require(type(self), num_heads=num_heads, window=window, dropout=dropout, eps=eps)
        if hidden_size % num_heads:
            raise ValueError(f"Sound: {num_heads} heads do not divide a width of {hidden_size}")
        self.num_heads = num_heads
        self.window = window
        self.gate = gate
        self.dropout = dropout
        self.eps = eps
        self.chunk_size = chunk_size
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=bias)
        self.gate_proj = nn.Linear(hidden_size, hidden_size)
        self.gain = nn.Parameter(torch.ones(hidden_size))
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        return {"qkv_proj.weight": (self.hidden_size,) * 3}

    def parameter_info(self) -> dict[str, ParamInfo]:
        gate = ParamInfo(role=self.role, kind="gate", decay=False)
        return {**super().parameter_info(), "gate_proj.weight": gate, "gate_proj.bias": gate}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        q, k, v = (self.split(part) for part in self.qkv_proj(x).chunk(3, -1))
        y = torch.cat(
            [self.attend(q[:, :, rows], k, v, layout, rows) for rows in self.chunks(x.shape[1])]
            or [torch.zeros_like(q)],
            2,
        )
        y = self.normalise(y.transpose(1, 2).flatten(2)) * self.gain
        return self.leave(self.out_proj(self.opening(self.gate_proj(x)) * y), layout)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def chunks(self, length: int) -> list[slice]:
        return [slice(start, start + self.chunk_size) for start in range(0, length, self.chunk_size)]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout, rows: slice) -> Tensor:
        allowed = self.allowed(layout)[:, None, rows]
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~allowed, torch.finfo(q.dtype).min)
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        return weights @ v

    def allowed(self, layout: Layout) -> Tensor:
        documents, positions = layout.documents, layout.positions
        allowed = (documents[:, :, None] == documents[:, None]) & layout.mask[:, None]
        distance = positions[:, :, None] - positions[:, None]
        if self.causal:
            allowed = allowed & (distance >= 0)
        return allowed if self.window is None else allowed & (distance.abs() <= self.window)

    def normalise(self, y: Tensor) -> Tensor:
        wide = y.to(torch.promote_types(y.dtype, torch.float32))
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(y.dtype)

    def opening(self, x: Tensor) -> Tensor:
        return {"sigmoid": torch.sigmoid, "swish": F.silu, "tanh": torch.tanh}[self.gate](x)
