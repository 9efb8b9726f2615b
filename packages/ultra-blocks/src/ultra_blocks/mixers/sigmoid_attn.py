"""Multi-head sigmoid attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import attrs
import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.layout.masks import visible_keys
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.softmax import KVCache, ScoreTerms, SoftmaxAttention
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class SigmoidAttention(SoftmaxAttention):
    """Multi-head attention whose weights are sigmoids of the scores, independent for each key.

    Per head, with n_i the number of real keys that query i may attend to (in its document, and not later if
    causal, and inside the window if there is one)::

        S = Q K^T / sqrt(d) + bias,   A_ij = sigmoid(S_ij - log n_i),   Y = [A V over heads] W_O

    Rows do not sum to 1, but the bias -log n makes them start near 1. n counts real keys, so that padding has
    no effect. Scores are computed by tiles and recomputed in the backward pass; memory is linear in T unless
    the position code computes the scores itself or learns a bias.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens; n_i is then the position in the document,
            from 1.
        positions: position code; without one an encoder does not know the order of its tokens.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        output_norm: RMS norm with gain over D after W_O ("hybrid norm"), meant for long documents.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before all biases.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``out_proj.weight`` ``(D, D)``.
        Decoding state: 2 D elements per token (with a window, for the last ``window + 1`` tokens).

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that attention cannot apply.

    Paper: Ramapuram et al. 2024, "Theory, Analysis, and Best Practices for Sigmoid Self-Attention",
    arXiv:2409.04431.
    Differs from the paper: n is the number of keys of each query, even if causal, instead of the training
    length; there is no LayerScale; the hybrid norm is off by default.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"sigmoid": Alias()}
    reference: ClassVar = "ultra_blocks.reference.sigmoid_attn:sigmoid_attn"
    normalised: ClassVar[bool] = False
    traits: ClassVar[Traits] = attrs.evolve(SoftmaxAttention.traits, averages=False, scaled_scores=False)

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        output_norm: bool = False,
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
        self.output_norm = RMSNorm(hidden_size) if output_norm else None

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the attention branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        return self._normed(super().forward(x, layout))

    def step(self, x_t: Tensor, state: KVCache) -> tuple[Tensor, KVCache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated cache."""
        y, state = super().step(x_t, state)
        return self._normed(y), state

    def _normed(self, y: Tensor) -> Tensor:
        return y if self.output_norm is None else self.output_norm(y)  # zeros stay zeros

    def _score_terms(self, x: Tensor, layout: Layout) -> ScoreTerms:
        wide = torch.promote_types(x.dtype, torch.float32)
        window = self.window if self._reaches_past_window(layout) else None

        def query_bias() -> Tensor:
            seen = visible_keys(
                layout.mask, layout.documents, layout.positions, causal=self.causal, window=window
            )
            return -seen.to(wide).log()

        return ScoreTerms(query_bias=layout.remember(("log visible", self.causal, window, wide), query_bias))

    def _attend_next(
        self, x_t: Tensor, state: KVCache, added: Tensor | None = None
    ) -> tuple[Tensor, KVCache]:
        seen = state.length + 1 if self.window is None else min(state.length, self.window) + 1
        wide = torch.promote_types(x_t.dtype, torch.float32)
        bias = -torch.full((), seen, dtype=wide, device=x_t.device).log()
        return super()._attend_next(x_t, state, bias if added is None else added + bias)
