"""SoftmaxAttention, the base of the dense attention blocks: projections, positions, kernels, decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ultra_blocks.functional.attention import (
    attention_weights,
    explicit_attention,
    kernel_attention,
    repeat_heads,
)
from ultra_blocks.functional.max_scores import max_of_scores, max_scores
from ultra_blocks.functional.tiled_attention import score_bias, tiled_attention
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.heads import number_of_heads
from ultra_blocks.mixers.max_logits import MaxLogits, rows_of
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import LogitRows
from ultra_core.plugins.signatures import require


class KVCache(NamedTuple):
    """Keys and values ``(B, G, t, d)`` of the tokens so far (with a window, the last), and their number."""

    keys: Tensor
    values: Tensor
    length: int


class ScoreTerms(NamedTuple):
    """Terms that a block adds to its scores, as arguments of :func:`tiled_attention`."""

    query_bias: Tensor | None = None
    decay_sums: Tensor | None = None


class SoftmaxAttention(MaxLogits, Mixer):
    """Attention with G key heads for H query heads; subclasses document the formulas.

    The projections of q, k and v are one matrix ``qkv_proj`` of ``(H + 2 G) d`` rows. A block that adds terms
    to the scores returns them from :meth:`_score_terms`, and passes them to :meth:`_attend_next` when it
    decodes.

    Raises:
        ValueError: numbers of heads do not divide, an option is out of range, or the position code is of a
            kind that attention cannot apply.
    """

    role = "attention"
    normalised: ClassVar[bool] = True
    """Whether the weights are the softmax of the scores; False: the sigmoid of each."""
    explicit: bool = False
    """Whether the scores are computed in memory even where a kernel determines them from q and k."""
    traits: ClassVar[Traits] = Traits(
        recurrent_step=True,
        positions=frozenset({"rotate", "bias", "scores"}),
        symmetric=True,
        averages=True,
        scaled_scores=True,
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int | None,
        num_kv_heads: int | None,
        causal: bool,
        positions: PositionSpec,
        qk_norm: bool,
        window: int | None,
        softcap: float | None,
        dropout: float,
        bias: bool,
        linear: LinearFactory,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        name = type(self).__name__
        num_heads = number_of_heads(num_heads, hidden_size)
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(f"{name}: num_heads={num_heads} does not divide hidden_size={hidden_size}")
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"{name}: num_kv_heads={num_kv_heads} does not divide num_heads={num_heads}")
        check_options(name, window=window, softcap=softcap, dropout=dropout)
        require(type(self), num_heads=num_heads, num_kv_heads=num_kv_heads, window=window)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = hidden_size // num_heads
        self.window = window
        self.softcap = softcap
        self.dropout = dropout
        self.heights = tuple(h * self.head_dim for h in (num_heads, num_kv_heads, num_kv_heads))
        self.qkv_proj = fused_linear(linear, hidden_size, self.heights, bias=bias)
        self.out_proj = linear(hidden_size, hidden_size, bias=bias)
        self.q_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.positions = self.build_positions(positions, head_dim=self.head_dim, num_heads=num_heads)
        self.reset_parameters()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of q, k and v in ``qkv_proj``."""
        return {"qkv_proj.weight": self.heights}

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of queries and keys in ``qkv_proj``; none if they are normalised or quantised."""
        if self.q_norm is not None:
            return ()
        heads, groups, width = self.num_heads, self.num_kv_heads, self.head_dim
        queries = rows_of("qkv_proj", self.qkv_proj, "query", heads, width)
        return (*queries, *rows_of("qkv_proj", self.qkv_proj, "key", groups, width, heads * width))

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the attention branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        y = self._attend(x, layout)
        return self.leave(self.out_proj(y), layout)

    def _attend(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the concatenated outputs of the heads ``(B, T, D)``."""
        q, k, v = self.project(x)
        plain = q
        if self.positions.kind == "rotate":
            q, k = self.positions.rotate(q, k, layout)
        bias = self.positions.bias(layout, v.dtype) if self.positions.kind == "bias" else None
        dropout = self.dropout if self.training else 0.0
        window = self.window if self._reaches_past_window(layout) else None
        self._record(lambda: self._max_logits(q, k, layout, window))
        terms = self._score_terms(x, layout)
        tiled = self.softcap is not None or any(term is not None for term in terms)
        learnt = bias is not None and bias.requires_grad
        if not self._has_kernel() or (tiled and learnt):
            mask = layout.attention_mask(self.causal, window)
            bias = _sum(bias, score_bias(*terms))
            y = self._read(plain, self.scores(q, k, layout), v, mask=mask, bias=bias, dropout=dropout)
        elif tiled:
            y = tiled_attention(
                q.to(v.dtype),
                repeat_heads(k.to(v.dtype), self.num_heads),
                repeat_heads(v, self.num_heads),
                layout,
                causal=self.causal,
                window=window,
                query_bias=terms.query_bias,
                bias=bias,
                decay_sums=terms.decay_sums,
                softcap=self.softcap,
                normalised=self.normalised,
                dropout=dropout,
            )
        else:
            q, k = q.to(v.dtype), k.to(v.dtype)
            y = kernel_attention(
                q, k, v, layout, causal=self.causal, window=window, bias=bias, dropout=dropout
            )
        return y.transpose(1, 2).flatten(2)

    @property
    def has_weights(self) -> bool:
        """Whether :meth:`attention_weights` is what the block computes with."""
        return True

    def attention_weights(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the attention weights ``(B, H, T, T)`` of ``x`` ``(B, T, D)``, without dropout.

        They are computed again, with all scores in memory. Rows of padding are zeros.
        """
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        q, k, _ = self.project(x)
        kind = self.positions.kind
        if kind == "rotate":
            q, k = self.positions.rotate(q, k, layout)
        bias = self.positions.bias(layout, x.dtype) if kind == "bias" else None
        window = self.window if self._reaches_past_window(layout) else None
        weights = attention_weights(
            self.scores(q, k, layout),
            mask=layout.attention_mask(self.causal, window),
            bias=_sum(bias, score_bias(*self._score_terms(x, layout))),
            softcap=self.softcap,
            normalised=self.normalised,
        )
        return layout.zero_padding(weights.transpose(1, 2)).transpose(1, 2)

    def _reaches_past_window(self, layout: Layout) -> bool:
        """Whether some pair may be outside of the window; short rows need no mask for it."""
        if self.window is None or not layout.indexed:
            return self.window is not None
        return layout.mask.shape[1] - 1 > (self.window if self.causal else self.window // 2)

    def _max_logits(self, q: Tensor, k: Tensor, layout: Layout, window: int | None) -> Tensor:
        """Return the largest scaled score of every head ``(H,)``, before the cap and any bias."""
        if self.positions.kind == "scores":
            with torch.no_grad():
                scores = self.scores(q, k, layout)
            return max_of_scores(scores, layout, causal=self.causal, window=window)
        return max_scores(q, k, layout, causal=self.causal, window=window)

    def _score_terms(self, x: Tensor, layout: Layout) -> ScoreTerms:
        """Return the terms that this block adds to the scores; ``x`` has zeros at padding."""
        del x, layout
        return ScoreTerms()

    def _has_kernel(self) -> bool:
        """Whether q and k determine the scores, so that these need not be in memory."""
        return not self.explicit and self.positions.kind != "scores"

    def _read(
        self,
        plain: Tensor,
        scores: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None,
        bias: Tensor | None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Return ``(B, H, T, d)`` from scores in memory; ``plain`` are the queries before rotation."""
        del plain
        return explicit_attention(
            scores,
            v,
            mask=mask,
            bias=bias,
            softcap=self.softcap,
            normalised=self.normalised,
            dropout=dropout,
        )

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q ``(B, H, T, d)``, k and v ``(B, G, T, d)``, views of one projection."""
        heads = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        qkv = self.qkv_proj(x).unflatten(-1, (sum(heads), self.head_dim))
        q, k, v = (part.transpose(1, 2) for part in qkv.split(heads, dim=2))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v

    def scores(self, q: Tensor, k: Tensor, layout: Layout) -> Tensor:
        """Return the scaled scores ``(B, H, T, S)``."""
        k = repeat_heads(k, self.num_heads)
        if self.positions.kind == "scores":
            return self.positions.scores(q, k, layout) * self.head_dim**-0.5
        return (q * self.head_dim**-0.5) @ k.transpose(-1, -2)

    def init_state(self, batch: int) -> KVCache:
        """Return the empty cache of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        self.require_causal()
        empty = next(self.parameters()).new_empty(batch, self.num_kv_heads, 0, self.head_dim)
        return KVCache(empty, empty, 0)

    def step(self, x_t: Tensor, state: KVCache) -> tuple[Tensor, KVCache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated cache.

        The cache takes 2 t G d elements per row. Position codes of kind "bias" and "scores" compute the
        square of all cached tokens, of which the last row is used. Dropout is not applied.
        """
        self.enter_step(x_t, state)
        y, state = self._attend_next(x_t, state)
        return self.out_proj(y), state

    def _attend_next(
        self, x_t: Tensor, state: KVCache, added: Tensor | None = None
    ) -> tuple[Tensor, KVCache]:
        """Return the concatenated outputs of the heads at the next token ``(B, D)``, and the updated cache.

        ``added`` is added to the scores of the cached tokens and the next one; it must be broadcastable to
        ``(B, H, 1, t + 1)``.
        """
        q, k, v = self.project(x_t[:, None])
        plain = q
        kind = self.positions.kind
        if kind == "rotate":
            q, k = self.positions.rotate(q, k, columns(x_t, state.length, 1))
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        if self.window is not None:
            keys, values = keys[:, :, -self.window - 1 :], values[:, :, -self.window - 1 :]
        seen = keys.shape[2]
        layout = columns(x_t, state.length + 1 - seen, seen)
        bias = self.positions.bias(layout, v.dtype)[:, :, -1:] if kind == "bias" else None
        q = q.expand(-1, -1, seen, -1) if kind == "scores" else q
        scores = self.scores(q, keys, layout)[:, :, -1:]
        y = self._read(plain, scores, values, mask=None, bias=_sum(bias, added))
        return y.transpose(1, 2).flatten(1), KVCache(keys, values, state.length + 1)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def columns(like: Tensor, first: int, length: int) -> Layout:
    """Return the layout of ``length`` real tokens per row, whose positions start at ``first``."""
    whole = Layout.full(len(like), length, like.device)
    return Layout(whole.mask, whole.documents, whole.positions + first, padded=False, packed=False)


def check_options(name: str, *, window: int | None, softcap: float | None, dropout: float) -> None:
    """Check the options that all attention blocks share.

    Raises:
        ValueError: an option of the block ``name`` is out of range.
    """
    if window is not None and window < 1:
        raise ValueError(f"{name}: window must be 1 or more, or null for none; given {window}")
    if softcap is not None and not 0 < softcap < math.inf:
        raise ValueError(f"{name}: softcap must be above 0 and finite, or null for none; given {softcap}")
    if not 0 <= dropout < 1:
        raise ValueError(f"{name}: dropout must be at least 0 and below 1; given {dropout}")
