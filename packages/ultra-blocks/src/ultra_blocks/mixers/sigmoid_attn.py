"""Multi-head sigmoid attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.layout.masks import visible_keys
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.softmax import KVCache, ScoreTerms, SoftmaxAttention
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class SigmoidAttention(SoftmaxAttention):
    """Multi-head attention whose weights are sigmoids of the scores, each key for itself.

    Per head, with n_i the number of real keys that query i may see (its document, what is not ahead of it
    where causal, what is near where there is a window)::

        S = Q K^T / sqrt(d) + bias,   A_ij = sigmoid(S_ij - log n_i),   Y = [A V over heads] W_O

    Rows do not sum to 1; the shift by log n starts them near there. n counts real keys, so that padding
    changes nothing. Scores are computed by tiles and again in the backward pass: memory is linear in T, where
    the position code does not itself make the scores or learn a bias.

    Args:
        hidden_size: width D of the stream.
        num_heads: heads H; each is ``d = D / H`` wide.
        causal: a token sees itself and what comes before; n_i is then its place in the document, from 1.
        positions: position code; without one an encoder cannot tell the order of its tokens.
        qk_norm: RMS norm with gain over d of each query and key, before the position code.
        output_norm: RMS norm with gain over D after W_O ("hybrid norm"), for long documents.
        window: local attention: encoders see ``|p_i - p_j| <= window // 2``, causal blocks ``window`` back.
        softcap: scores become ``softcap * tanh(S / softcap)``, before shift and biases.
        dropout: probability that a weight of A is dropped in training.
        bias: whether the projections have shifts.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``out_proj.weight`` ``(D, D)``.
        Decoding state: 2 D numbers a token (with a window, for its last ``window + 1`` tokens).

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that attention cannot apply.

    Paper: Ramapuram et al. 2024, "Theory, Analysis, and Best Practices for Sigmoid Self-Attention",
    arXiv:2409.04431.
    Differs from the paper: n is the number of visible keys of each query, also where causal, in place of the
    length of training; no LayerScale; hybrid norm is off by default.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"sigmoid": Alias()}
    normalised: ClassVar[bool] = False

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 12,
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
        """Return the output ``(B, D)`` of the next token of every row, and the cache with it."""
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
