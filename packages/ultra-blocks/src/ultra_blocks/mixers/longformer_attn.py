"""Longformer: sliding-window attention, and a few global tokens that attend to and are attended by all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ultra_blocks.functional.band import band_attention
from ultra_blocks.functional.document_attention import document_attention
from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.softcap_attention import masked_softcap_attention
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.sparse import SparseAttention, normed, one_token
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require

ALIGN = 16
"""Alignment of packed documents: it wastes few places, and blocks are large enough for matrix products."""


class LongformerCache(NamedTuple):
    """Keys and values ``(B, H, t, d)`` of the global tokens and those in the window, and number of tokens."""

    keys: Tensor
    values: Tensor
    length: int


class LongformerAttention(SparseAttention):
    """Softmax attention in a sliding window with some global tokens, in time linear in the length.

    With ``r_i`` the index of token i among the real tokens of its document and g global tokens::

        i attends to j  if  |r_i - r_j| <= window // 2  or  r_j < g
        causal:         if  0 <= r_i - r_j <= window  or  r_j < g and r_j <= r_i
        y_i = softmax_j(q_i k_j / sqrt(d)) v_j              over those, for r_i >= g (causal: for every i)
        y_i = softmax_j(q'_i k'_j / sqrt(d)) v'_j           over all j, for r_i < g, with separate q', k', v'

    and ``Y = [y over heads] W_O``. Padding and other documents are always masked.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        window: width of the window, half of which is on either side; causal: all of it is before the token.
        global_tokens: number of first tokens of each document that are global, such as [CLS]; 0: none.
        positions: position code of kind "rotate", or "nope".
        qk_norm: RMS norm with gain of each query and key over d, before the position code, with separate
            gains for global tokens.
        softcap: all scores become ``softcap * tanh(S / softcap)``, before masks. They are then computed by
            tiles, in memory linear in T but slower than by fused kernels, which have no cap.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``out_proj.weight`` ``(D, D)``;
        encoders with global tokens: ``global_q_proj.weight`` ``(D, D)``, ``global_kv_proj.weight``
        ``(2D, D)``.
        Decoding state: 2 D elements for each of the last ``window + 1`` tokens and each global one.
        Time and memory: ``1.5 window`` scores per token and head, and T scores per global token.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that the block cannot apply.

    Paper: Beltagy et al. 2020, "Longformer", arXiv:2004.05150; softcap: Gemma Team 2024, arXiv:2408.00118.
    Differs from the paper: the window counts real tokens and ends at the borders of a document; the first
    tokens of a document are global, not tokens selected for a task; there is no dilation, and attention
    weights have no dropout. In causal blocks, which the paper trains without global tokens, all later tokens
    attend to the first ones, with the same projections: rows of their own would attend only to each other.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"longformer": Alias()}
    reference: ClassVar = "ultra_blocks.reference.longformer_attn:longformer_attn"
    resembles: ClassVar[Mapping[str, str]] = {
        "sparse_transformer": "whose local part it has, with global tokens in place of strides",
        "sparse_transformer_attn": "whose local part it has, with global tokens in place of strides",
    }
    traits: ClassVar[Traits] = Traits(
        full_context=False, recurrent_step=True, positions=frozenset({"rotate"}), linear_time=True
    )
    variations: ClassVar[Mapping[str, Any]] = {"global_tokens": {"window": 8}}

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        window: Annotated[int, Range(min=1)] = 512,
        global_tokens: Annotated[int, Range(min=0)] = 1,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        softcap: Annotated[float, Range(gt=0)] | None = None,
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
            softcap=softcap,
            bias=bias,
            linear=linear,
        )
        if window < 1:
            raise ValueError(f"LongformerAttention: window must be 1 or more; given {window}")
        if global_tokens < 0:
            raise ValueError(f"LongformerAttention: global_tokens must be 0 or more; given {global_tokens}")
        require(LongformerAttention, window=window, global_tokens=global_tokens)
        self.window = window
        self.global_tokens = global_tokens
        self.has_rows = bool(global_tokens) and not causal
        if self.has_rows:
            self.global_q_proj = linear(hidden_size, hidden_size, bias=bias)
            self.global_kv_proj = fused_linear(linear, hidden_size, (hidden_size, hidden_size), bias=bias)
            self.global_q_norm = RMSNorm(self.head_dim) if qk_norm else None
            self.global_k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.reset_parameters()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in projections."""
        more = {"global_kv_proj.weight": (self.hidden_size,) * 2} if self.has_rows else {}
        return {**super().row_blocks(), **more}

    def _align(self, layout: Layout) -> int:
        return ALIGN if layout.packed else 1

    def _attend(self, x: Tensor, blocks: DocumentBlocks) -> Tensor:
        q, k, v = self._project(x)
        q, k = self._rotate(q, k, blocks.layout)
        back, ahead = (self.window, 0) if self.causal else (self.window // 2, self.window // 2)
        y = band_attention(
            q, k, v, blocks, back=back, ahead=ahead, leading=self.global_tokens, softcap=self.softcap
        )
        y = y.transpose(1, 2).flatten(2)
        return self._with_rows(x, y, blocks) if self.has_rows else y

    def _with_rows(self, x: Tensor, y: Tensor, blocks: DocumentBlocks) -> Tensor:
        """Return ``y`` ``(B, L, D)`` with the outputs of global tokens in their places."""
        count, heads = self.global_tokens, (self.num_heads, self.head_dim)
        places = blocks.starts[..., None] + torch.arange(count, device=x.device)
        places = places.clamp(max=blocks.places - 1).flatten(1)  # (B, S g)
        q = self.global_q_proj(x.gather(1, places[..., None].expand(-1, -1, x.shape[-1])))
        k, v = self.global_kv_proj(x).chunk(2, -1)
        q, k, v = (t.unflatten(-1, heads).transpose(1, 2) for t in (q, k, v))
        q, k = normed(q, self.global_q_norm), normed(k, self.global_k_norm)
        q, _ = self._rotate(q, q, blocks.at(places))
        k, _ = self._rotate(k, k[:, :0], blocks.layout)
        rows = document_attention(q.unflatten(2, (-1, count)), k, v, blocks, ALIGN, softcap=self.softcap)
        rows = rows.flatten(2, 3).transpose(1, 2).flatten(2)  # (B, S g, D)
        is_row = blocks.layout.mask & (blocks.rank < count)
        which = torch.where(is_row, blocks.layout.documents * count + blocks.rank, 0)
        return torch.where(is_row[..., None], rows.gather(1, which[..., None].expand_as(y)), y)

    def init_state(self, batch: int) -> LongformerCache:
        """Return the empty cache of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        empty = self._no_keys(batch)
        return LongformerCache(empty, empty, 0)

    def step(self, x_t: Tensor, state: LongformerCache) -> tuple[Tensor, LongformerCache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated cache."""
        self.enter_step(x_t, state)
        q, k, v = self._project(x_t[:, None])
        q, k = self._rotate(q, k, one_token(x_t, state.length))
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        first = self.global_tokens
        if (
            keys.shape[2] > first + self.window + 1
        ):  # drop the oldest that is neither global nor in the window
            keys, values = (torch.cat([t[:, :, :first], t[:, :, first + 1 :]], 2) for t in (keys, values))
        y = masked_softcap_attention(q, keys, values, softcap=self.softcap)
        return self.out_proj(y.transpose(1, 2).flatten(1)), LongformerCache(keys, values, state.length + 1)
