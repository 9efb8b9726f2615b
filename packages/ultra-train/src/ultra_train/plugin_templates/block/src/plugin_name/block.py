"""The block ``plugin_name``: a gated average of the document that decays with the distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.positions import real_positions
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.signatures import require


class PluginName(Mixer):
    r"""Gated average of the document, in which each head forgets at a rate of its own.

    ``y_t = W_o (sigmoid(W_g x_t) * sum_s w_ts W_v x_s)``, where the weights of a head are
    ``w_ts = exp(-rate |p_t - p_s|)``, divided by their sum over the tokens s that t may see: those of its
    document, and with ``causal`` only those up to t.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number H of heads, which divides D; their initial rates are a geometric sequence.
        horizon: distance at which the slowest head forgets all but 1/e of a token before training.
        causal: whether a token sees only those before it, and itself.

    Shapes:
        x, y: ``(B, T, D)``; y is exactly zero at padding.

    Raises:
        ValueError: an option is out of range, or ``num_heads`` does not divide the width.

    Cost: O(T^2 D) time and O(H T^2) memory.
    Reference: Zhang, Xiong, Su 2018, "Accelerating Neural Transformer via an Average Attention Network",
        arXiv:1805.00631.
    Differs from the paper: the average decays with the distance; one output gate instead of an input and a
        forget gate.
    """

    role: ClassVar[str] = "attention"
    traits: ClassVar[Traits] = Traits(symmetric=True)
    exact_parameters: ClassVar[tuple[str, ...]] = ("log_rate",)
    reference: ClassVar = "plugin_name.reference:average"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 4,
        horizon: Annotated[float, Range(min=1)] = 64.0,
        causal: bool = False,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        require(PluginName, num_heads=num_heads, horizon=horizon)
        if hidden_size % num_heads:
            raise ValueError(f"PluginName: num_heads {num_heads} does not divide hidden_size {hidden_size}")
        self.num_heads = num_heads
        self.horizon = horizon
        self.value_gate = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.log_rate = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the projections as every block does, and the rates from 1 down to ``1 / horizon``."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        slowest = torch.arange(1, self.num_heads + 1) / self.num_heads
        self.log_rate.copy_(-math.log(self.horizon) * slowest)

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of value and gate, which share one projection."""
        return {"value_gate.weight": (self.hidden_size, self.hidden_size)}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Mix ``(B, T, D)`` into the value of the residual branch, ``(B, T, D)``."""
        x = self.enter(x, layout)
        layout = layout or Layout.full(x.shape[0], x.shape[1], x.device)
        value, gate = self.value_gate(x).chunk(2, dim=-1)
        heads = value.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        mean = self.weights(layout).to(value.dtype) @ heads
        return self.leave(self.out_proj(torch.sigmoid(gate) * mean.transpose(1, 2).flatten(2)), layout)

    def weights(self, layout: Layout) -> Tensor:
        """Return the weights of keys for queries, ``(B or 1, H, T, T)``, each row with the sum 1."""
        positions = real_positions(layout)
        distance = (positions[:, None, :, None] - positions[:, None, None, :]).abs()
        scores = -self.log_rate.exp()[:, None, None] * distance
        visible = layout.attention_mask(causal=self.causal)
        return (scores if visible is None else scores.masked_fill(~visible, -math.inf)).softmax(dim=-1)
