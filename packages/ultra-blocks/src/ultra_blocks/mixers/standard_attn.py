"""Multi-head softmax attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import nn

from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.softmax import SoftmaxAttention
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class StandardAttention(SoftmaxAttention):
    """Multi-head softmax attention, bidirectional or causal, computed by fused kernels.

    Per head, over the keys of the query's own document::

        S = Q K^T / sqrt(d) + bias,   A = softmax(S),   Y = [A V over heads] W_O

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        positions: position code; without one an encoder does not know the order of its tokens.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks and biases. They are then
            computed by tiles, in memory linear in T but slower than by fused kernels, which have no cap.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``out_proj.weight`` ``(D, D)``.
        Decoding state: 2 D elements per token (with a window, for the last ``window + 1`` tokens).

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that attention cannot apply.

    Paper: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; QK-norm: Henry et al. 2020,
    arXiv:2010.04245; softcap: Gemma Team 2024, arXiv:2408.00118; window: Beltagy et al. 2020,
    arXiv:2004.05150.
    Differs from the paper: by default projections have no biases and positions are rotary; QK-norm is an RMS
    norm with gain and keeps the factor 1/sqrt(d).
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"standard": Alias()}
    reference: ClassVar = "ultra_blocks.reference.standard_attn:standard_attn"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            num_kv_heads=num_heads,
            causal=causal,
            positions=positions,
            qk_norm=qk_norm,
            window=window,
            softcap=softcap,
            dropout=dropout,
            bias=bias,
            linear=linear,
        )
