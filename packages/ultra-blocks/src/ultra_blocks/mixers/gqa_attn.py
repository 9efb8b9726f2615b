"""Grouped-query softmax attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import nn

from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.softmax import SoftmaxAttention
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class GQAAttention(SoftmaxAttention):
    """Softmax attention in which groups of query heads share one key and value head.

    With H query heads and G key heads, query head h reads key head g::

        S_h = Q_h K_g^T / sqrt(d) + bias,   A_h = softmax(S_h),   g = floor(h G / H)
        Y = [A_h V_g over h] W_O

    G = H is :class:`StandardAttention`, G = 1 multi-query attention. Fewer parameters in the projections and
    a decoding cache of G/H the size; the work of the scores stays the same.

    Args:
        hidden_size: width D of the stream.
        num_heads: query heads H; each is ``d = D / H`` wide.
        num_kv_heads: key heads G, dividing H; None: a quarter of H where 4 divides it, else 1.
        causal: a token sees itself and what comes before.
        positions: position code; without one an encoder cannot tell the order of its tokens.
        qk_norm: RMS norm with gain over d of each query and key, before the position code.
        window: local attention: encoders see ``|p_i - p_j| <= window // 2``, causal blocks ``window`` back.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks and biases.
        dropout: probability that a weight of A is dropped in training.
        bias: whether the projections have shifts.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``((H + 2G) d, D)``, ``out_proj.weight``
        ``(D, D)``.
        Decoding state: 2 G d numbers a token.

    Raises:
        ValueError: ``num_heads`` does not divide D, ``num_kv_heads`` does not divide ``num_heads``, an option
            is out of range, or the position code is of a kind that attention cannot apply.

    Paper: Ainslie et al. 2023, "GQA", arXiv:2305.13245.
    Differs from the paper: trained from scratch, not made from a multi-head checkpoint.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"gqa": Alias()}

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 12,
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
        if num_kv_heads is None:
            num_kv_heads = 1 if num_heads % 4 else num_heads // 4
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
