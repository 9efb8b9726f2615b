"""The two-matrix feed-forward network."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from ultra_blocks.ffn.base import ACTIVATIONS, Activation, FeedForward
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_core.contracts import FromModel, Range


class MLP(FeedForward):
    """Two-matrix feed-forward network: ``y = W_down act(W_up x)``, token by token.

    Args:
        hidden_size: width D of the residual stream.
        ffn_hidden_size: inner width F.
        activation: ``gelu`` (exact), ``gelu_tanh``, ``silu``, ``relu``, ``relu2`` (squared), or another
            activation of torch.
        dropout: dropout probability of the inner activations in training, besides that of the branch.
        bias: whether both projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y: ``(B, T, D)``; y is exactly zero at padding.

    Paper: Vaswani et al. 2017, arXiv:1706.03762, section 3.3; relu2: So et al. 2021, arXiv:2109.08668.
    Differs from the paper: no biases by default, and the activation can be chosen.
    """

    reference: ClassVar = "ultra_blocks.reference.ffns:mlp"

    def __init__(
        self,
        hidden_size: int,
        ffn_hidden_size: int,
        *,
        activation: Annotated[Activation, FromModel("ffn_activation")] = "gelu",
        dropout: Annotated[float, Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, ffn_hidden_size, activation=activation, dropout=dropout, bias=bias)
        self.up = linear(hidden_size, ffn_hidden_size, bias=bias)
        self.down = linear(ffn_hidden_size, hidden_size, bias=bias)
        self.reset_parameters()

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch value ``(B, T, D)``."""
        inner = ACTIVATIONS[self.activation](self.up(self.enter(x, layout)))
        return self.leave(self.down(self.dropout(inner)), layout)
