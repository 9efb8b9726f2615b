"""The block ``average_attn``."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits


class AverageAttention(Mixer):
    r"""Gated average of the document.

    Computes $y_t = W_o\,(\sigma(W_g x_t) \odot \operatorname{mean}_s W_v x_s)$ over the real tokens
    $s$ of the document of $t$; in causal form over $s \le t$.

    Shapes: x (B, T, hidden_size); returns (B, T, hidden_size).
    Reference: Zhang, Xiong and Su 2018, https://arxiv.org/abs/1805.00631.
    Differs from the paper: one output gate instead of an input and a forget gate; no inner FFN, since the
    layer has its own.
    """

    role = "attention"
    traits: ClassVar[Traits] = Traits(symmetric=True)

    def __init__(self, hidden_size: int, *, causal: bool = False) -> None:
        super().__init__(hidden_size, causal=causal)
        self.value_gate = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.reset_parameters()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Values and gates are matrices of their own."""
        return {"value_gate.weight": (self.hidden_size, self.hidden_size)}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Mix (B, T, D) into (B, T, D); zeros at padding."""
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        value, gate = self.value_gate(self.enter(x, layout)).chunk(2, dim=-1)
        visible = layout.attention_mask(causal=self.causal)
        if visible is None:
            mean = value.mean(dim=1, keepdim=True)
        else:
            weights = visible[:, 0].to(value.dtype)
            mean = weights @ value / weights.sum(-1, keepdim=True).clamp(min=1)
        return self.leave(self.out_proj(torch.sigmoid(gate) * mean), layout)
