"""SparseAttention, the base of the sparse softmax blocks: projections, positions, document blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.functional.document_blocks import DocumentBlocks, document_blocks
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Mixer
from ultra_blocks.mixers.heads import number_of_heads
from ultra_blocks.mixers.softmax import check_options
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.plugins.signatures import require


class SparseAttention(Mixer):
    """Softmax attention over some of the pairs, in rows where documents start at multiples of a block.

    A subclass implements ``_align``, the block size, and ``_attend``, the outputs of the heads.

    Raises:
        ValueError: numbers of heads do not divide, or the position code is of a kind that the block cannot
            apply.
    """

    role: ClassVar[str] = "attention"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int | None,
        num_kv_heads: int | None,
        branches: int = 1,
        causal: bool,
        positions: PositionSpec,
        qk_norm: bool,
        softcap: float | None,
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
        check_options(name, window=None, softcap=softcap, dropout=0.0)
        require(type(self), num_heads=num_heads, num_kv_heads=num_kv_heads)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = hidden_size // num_heads
        self.softcap = softcap
        self.head_counts = (num_heads, *([num_kv_heads] * 2 * branches))
        self.heights = tuple(n * self.head_dim for n in self.head_counts)
        self.qkv_proj = fused_linear(linear, hidden_size, self.heights, bias=bias)
        self.out_proj = linear(hidden_size, hidden_size, bias=bias)
        self.q_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.positions = self.build_positions(positions, head_dim=self.head_dim, num_heads=num_heads)

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of q, k and v in ``qkv_proj``."""
        return {"qkv_proj.weight": self.heights}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the attention branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        blocks = document_blocks(layout, self._align(layout))
        y = self._attend(blocks.pack(x), blocks)
        return self.leave(blocks.unpack(self.out_proj(y)), layout)

    def _align(self, layout: Layout) -> int:
        """Return the block size, at whose multiples documents start."""
        raise TypeError(f"{type(self).__name__} has no _align; a sparse attention must define it")

    def _attend(self, x: Tensor, blocks: DocumentBlocks) -> Tensor:
        """Return the concatenated outputs of the heads ``(B, L, D)``."""
        raise TypeError(f"{type(self).__name__} has no _attend; a sparse attention must define it")

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q ``(B, H, L, d)``, k and v ``(B, G, L, d)``, with q and k normalised."""
        q, k, *rest = self._split(x)
        return normed(q, self.q_norm), normed(k, self.k_norm), *rest

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q ``(B, H, L, d)`` and the keys and values ``(B, G, L, d)``, views of one projection."""
        parts = self.qkv_proj(x).unflatten(-1, (sum(self.head_counts), self.head_dim))
        return tuple(part.transpose(1, 2) for part in parts.split(self.head_counts, dim=2))

    def _rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return q and k rotated by their positions, if the position code is a rotation."""
        return self.positions.rotate(q, k, layout) if self.positions.kind == "rotate" else (q, k)

    def _no_keys(self, batch: int) -> Tensor:
        """Return the empty cache of keys or values ``(B, G, 0, d)``."""
        self.require_causal()
        return next(self.parameters()).new_empty(batch, self.num_kv_heads, 0, self.head_dim)


def normed(x: Tensor, norm: nn.Module | None) -> Tensor:
    """Return ``x`` normalised, or ``x`` itself if there is no norm."""
    made: Tensor = x if norm is None else norm(x)
    return made


def one_token(like: Tensor, position: int) -> Layout:
    """Return the layout of one real token at a position in every row of ``like``."""
    whole = Layout.full(len(like), 1, like.device)
    moved = torch.full_like(whole.positions, position)
    return Layout(whole.mask, whole.documents, moved, padded=False, packed=False)
