"""Grouped-query softmax attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import nn

from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.heads import grouped_heads
from ultra_blocks.mixers.softmax import SoftmaxAttention
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class GQAAttention(SoftmaxAttention):
    """Softmax attention in which groups of query heads share one key and value head.

    With H query heads and G key heads, query head h reads key head g::

        S_h = Q_h K_g^T / sqrt(d) + bias,   A_h = softmax(S_h),   g = floor(h G / H)
        Y = [A_h V_g over h] W_O

    G = H is the block ``standard_attn``, and G = 1 is multi-query attention. The projections have fewer
    parameters and the decoding cache G/H the size; the cost of the scores stays the same.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of query heads H, each of width ``d = D / H``; None: the divisor of D with heads
            closest to 64 wide.
        num_kv_heads: number of key heads G, a divisor of H; None: H / 4 if 4 divides H, else 1.
        causal: tokens attend only to themselves and earlier tokens.
        positions: position code; without one an encoder does not know the order of its tokens.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks and biases.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``((H + 2G) d, D)``, ``out_proj.weight``
        ``(D, D)``.
        Decoding state: 2 G d elements per token.

    Raises:
        ValueError: ``num_heads`` does not divide D, ``num_kv_heads`` does not divide ``num_heads``, an option
            is out of range, or the position code is of a kind that attention cannot apply.

    Paper: Ainslie et al. 2023, "GQA", arXiv:2305.13245.
    Differs from the paper: it is trained from scratch, not converted from a multi-head checkpoint.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"gqa": Alias()}
    reference: ClassVar = "ultra_blocks.reference.gqa_attn:gqa_attn"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        num_kv_heads: Annotated[int | None, FromModel("num_kv_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        num_heads, num_kv_heads = grouped_heads(num_heads, num_kv_heads, hidden_size)
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            causal=causal,
            positions=positions,
            qk_norm=qk_norm,
            window=window,
            softcap=softcap,
            dropout=dropout,
            bias=bias,
            linear=linear,
        )
