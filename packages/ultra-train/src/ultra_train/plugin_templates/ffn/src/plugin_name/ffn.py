"""The FFN ``plugin_name``: a gated network whose gate learns how sharply it opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from ultra_blocks.ffn.base import FeedForward
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.signatures import require


class PluginName(FeedForward):
    """Gated feed-forward network with a learned slope of each gate.

    ``y = W_down (g * sigmoid(slope * g) * W_up x)`` with ``g = W_gate x``. ``W_gate`` and ``W_up`` are one
    fused projection ``gate_up``, whose first F rows are the gate. A slope of 1 is SwiGLU; larger ones come
    close to ReGLU, and 0 is the bilinear network.

    Args:
        hidden_size: width D of the residual stream.
        ffn_hidden_size: inner width F.
        slope: initial slope.
        dropout: dropout probability of the gated activations in training.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y: ``(B, T, D)``; y is exactly zero at padding.

    Raises:
        ValueError: an option is out of range.

    Reference: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202; Ramachandran, Zoph, Le 2017,
        "Searching for Activation Functions", arXiv:1710.05941.
    Differs from the paper: the slope of Swish, a constant there in gated networks, is learned by each gate.
    """

    reference: ClassVar = "plugin_name.reference:gated"

    def __init__(
        self,
        hidden_size: int,
        ffn_hidden_size: int,
        *,
        slope: Annotated[float, Range(min=0, max=100)] = 1.0,
        dropout: Annotated[float, Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, ffn_hidden_size, activation="silu", dropout=dropout, bias=bias)
        require(PluginName, slope=slope)
        self.initial_slope = slope
        self.gate_up = fused_linear(linear, hidden_size, (ffn_hidden_size, ffn_hidden_size), bias=bias)
        self.down = linear(ffn_hidden_size, hidden_size, bias=bias)
        self.slope = nn.Parameter(torch.empty(ffn_hidden_size))
        self.reset_parameters()

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the projections as every FFN does, and the slopes."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        nn.init.constant_(self.slope, self.initial_slope)

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of gate and up in the fused projection."""
        return {"gate_up.weight": (self.ffn_hidden_size, self.ffn_hidden_size)}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the value of the residual branch, ``(B, T, D)``."""
        gate, up = self.gate_up(self.enter(x, layout)).chunk(2, dim=-1)
        opened = gate * torch.sigmoid(self.slope.to(gate.dtype) * gate)
        y: Tensor = self.down(self.dropout(opened * up))
        return self.leave(y, layout)
