"""The gated feed-forward network: SwiGLU, GeGLU, ReGLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import Tensor, nn

from ultra_blocks.ffn.base import ACTIVATIONS, Activation, FeedForward
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class GLU(FeedForward):
    """Gated feed-forward network (SwiGLU, GeGLU): ``y = W_down (act(W_gate x) * W_up x)``.

    ``activation: silu`` is SwiGLU, ``gelu`` GeGLU, ``relu`` ReGLU. ``W_gate`` and ``W_up`` are one fused
    projection ``gate_up`` whose first F rows are the gate. ``ffn_hidden_size`` is used as given: three
    matrices of width F have as many parameters as an MLP of width 3F/2, so that 2048 corresponds to an MLP of
    3072.

    Args:
        hidden_size: width D of the residual stream.
        ffn_hidden_size: inner width F.
        activation: activation of the gate.
        dropout: dropout probability of the gated activations in training, besides that of the branch.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y: ``(B, T, D)``; y is exactly zero at padding.

    Paper: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.
    Differs from the paper: the width is not reduced to 2/3 implicitly.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {
        "swiglu": Alias(options={"activation": "silu"}),
        "geglu": Alias(options={"activation": "gelu"}),
        "reglu": Alias(options={"activation": "relu"}),
    }

    reference: ClassVar = "ultra_blocks.reference.ffns:glu"

    def __init__(
        self,
        hidden_size: int,
        ffn_hidden_size: int,
        *,
        activation: Annotated[Activation, FromModel("ffn_activation")] = "silu",
        dropout: Annotated[float, Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, ffn_hidden_size, activation=activation, dropout=dropout, bias=bias)
        self.gate_up = fused_linear(linear, hidden_size, (ffn_hidden_size, ffn_hidden_size), bias=bias)
        self.down = linear(ffn_hidden_size, hidden_size, bias=bias)
        self.reset_parameters()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of gate and up in the fused projection."""
        return {"gate_up.weight": (self.ffn_hidden_size, self.ffn_hidden_size)}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch value ``(B, T, D)``."""
        gate, up = self.gate_up(self.enter(x, layout)).chunk(2, dim=-1)
        return self.leave(self.down(self.dropout(ACTIVATIONS[self.activation](gate) * up)), layout)
