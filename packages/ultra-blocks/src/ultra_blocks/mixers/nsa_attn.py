"""Native sparse attention: gated attention to compressed blocks, selected blocks and a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.band import band_attention
from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.nsa import Selection, compressed_attention
from ultra_blocks.functional.nsa_branches import compressed_and_selected, selected_tokens
from ultra_blocks.functional.softcap_attention import masked_softcap_attention
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.compression import BlockCompressor
from ultra_blocks.mixers.heads import grouped_heads
from ultra_blocks.mixers.sparse import SparseAttention, normed, one_token
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Kind, ParamInfo, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class NSACache(NamedTuple):
    """Decoding state: keys and values ``(B, G, ., d)`` of each branch.

    Attributes:
        raw: inputs of the compression, of the last ``compress_block`` tokens.
        compressed: of the compressed blocks so far.
        selected: of all tokens, for the selected branch.
        window: of the last tokens, for the window.
        length: number of tokens.
    """

    raw: tuple[Tensor, Tensor]
    compressed: tuple[Tensor, Tensor]
    selected: tuple[Tensor, Tensor]
    window: tuple[Tensor, Tensor]
    length: int


class NativeSparseAttention(SparseAttention):
    """Softmax attention in three branches: over compressed blocks, over selected blocks, and in a window.

    The branches have separate keys and values and share queries; G key heads serve H query heads. Blocks are
    counted over the real tokens r = 0.. of each document. Per head, with gates ``g = sigmoid(W_g x + b)``::

        y_i = g^cmp_i A(q_i, K^cmp, V^cmp) + g^slc_i A(q_i, K^slc[J_i], V^slc[J_i])
            + g^win_i A(q_i, K^win, V^win)

    where A is softmax attention and ``Y = [y over heads] W_O``:

    - compressed: block m covers tokens ``m stride .. m stride + l - 1`` and becomes one key and one value,
      ``W_2 gelu(W_1 [k_s + e_s over s] + b_1) + b_2``; tokens beyond the end of the document count as zeros;
    - selected: the ``num_selected`` blocks of ``select_block`` tokens with the largest sums, over the heads
      of a group, of the weights of overlapping compressed blocks; always including the first block and the
      ``local_blocks`` nearest ones (that of the query, then the neighbour on its side of the block);
    - window: ``|r_i - r_j| <= window // 2``.

    Causal: ``0 <= r_i - r_j <= window``, compressed blocks that end at or before the query, and selected
    blocks up to the query, of which the local ones are its own and those before. The selection has no
    gradient.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of query heads H, each of width ``d = D / H``; None: the divisor of D with heads
            closest to 64 wide.
        num_kv_heads: number of key heads G, a divisor of H; None: H / 4 if 4 divides H, else 1.
        causal: tokens attend only to themselves and earlier tokens.
        compress_block: tokens l of a compressed block; a multiple of the stride, at most ``select_block``.
        compress_stride: tokens from one compressed block to the next.
        select_block: tokens of a selected block; a multiple of the stride.
        num_selected: number of selected blocks, including the first and the local ones.
        local_blocks: number of nearest blocks that are always selected.
        window: width of the window, half of which is on either side; causal: all of it is before the token.
        positions: position code of kind "rotate", or "nope"; a compressed key is rotated by the position of
            its first token.
        qk_norm: RMS norm with gain of each query and key over d, before the position code. The keys of each
            branch have separate gains; compressed keys are normalised after compression.
        softcap: scores of all branches become ``softcap * tanh(S / softcap)``, before masks, and the
            selection uses the resulting weights. The scores are then computed without fused kernels, which
            have no cap: slower, in memory linear in T.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``((H + 6G) d, D)``, ``out_proj.weight``
        ``(D, D)``, ``gate_proj`` ``(3H, D)`` and its bias, ``key_compressor``, ``value_compressor``.
        Decoding state: 2 G d elements per token for selected blocks, and ``2 G d / stride`` for others.
        Time: ``T / stride + num_selected select_block + 1.5 window`` scores per token and head. Memory is
        linear in T, since only some scores at a time exist and are recomputed in the backward pass.

    Raises:
        ValueError: numbers of heads do not divide, block sizes are incompatible, ``num_selected`` is below
            the number of blocks that are always selected, an option is out of range, or the position code is
            of a kind that the block cannot apply.

    Paper: Yuan et al. 2025, "Native Sparse Attention", arXiv:2502.11089; softcap: Gemma Team 2024,
    arXiv:2408.00118.
    Differs from the paper: bidirectional unless ``causal``; then all blocks may be selected, even one cut
    short by the end of its document. The indices of equation 9 are taken to start at 1, so that scores are
    sums over overlapping blocks. The compression network, which the paper leaves open, has one hidden layer
    of width d and is shared by all heads. Documents of up to ``num_selected`` blocks attend to all of them.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"nsa": Alias()}
    reference: ClassVar = "ultra_blocks.reference.nsa_attn:nsa_attn"
    resembles: ClassVar[Mapping[str, str]] = {
        "sparsek": "which selects keys too, but in blocks and by compressed scores",
        "sparsek_attn": "which selects keys too, but in blocks and by compressed scores",
    }
    traits: ClassVar[Traits] = Traits(recurrent_step=True, positions=frozenset({"rotate"}))
    variations: ClassVar[Mapping[str, Any]] = {
        "select_block": {"num_selected": 3},
        "local_blocks": {"num_selected": 4},
    }

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        num_kv_heads: Annotated[int | None, FromModel("num_kv_heads"), Range(min=1)] = None,
        causal: bool = False,
        compress_block: Annotated[int, Range(min=1)] = 32,
        compress_stride: Annotated[int, Range(min=1)] = 16,
        select_block: Annotated[int, Range(min=1)] = 64,
        num_selected: Annotated[int, Range(min=2)] = 16,
        local_blocks: Annotated[int, Range(min=1)] = 2,
        window: Annotated[int, Range(min=1)] = 512,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        num_heads, num_kv_heads = grouped_heads(num_heads, num_kv_heads, hidden_size)
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            branches=3,
            causal=causal,
            positions=positions,
            qk_norm=qk_norm,
            softcap=softcap,
            bias=bias,
            linear=linear,
        )
        if min(compress_block, compress_stride, select_block, local_blocks, window) < 1:
            raise ValueError(
                "NativeSparseAttention: compress_block, compress_stride, select_block, local_blocks and "
                f"window must be 1 or more; given {compress_block}, {compress_stride}, {select_block}, "
                f"{local_blocks}, {window}"
            )
        if compress_block % compress_stride or select_block % compress_stride:
            raise ValueError(
                f"NativeSparseAttention: compress_stride={compress_stride} must divide "
                f"compress_block={compress_block} and select_block={select_block}"
            )
        if compress_block > select_block:
            raise ValueError(
                f"NativeSparseAttention: compress_block={compress_block} must be at most "
                f"select_block={select_block}"
            )
        if num_selected < 1 + local_blocks:
            raise ValueError(
                f"NativeSparseAttention: num_selected={num_selected} must be at least 1 + local_blocks="
                f"{1 + local_blocks}, the blocks that are always selected"
            )
        sizes = {"compress_block": compress_block, "compress_stride": compress_stride, "window": window}
        selected = {"select_block": select_block, "num_selected": num_selected, "local_blocks": local_blocks}
        require(NativeSparseAttention, **sizes, **selected)
        self.window = window
        self.selection = Selection(
            select_block, num_selected, local_blocks, compress_block, compress_stride, causal
        )
        self.gate_proj = nn.Linear(hidden_size, 3 * num_heads)
        self.key_compressor = BlockCompressor(compress_block, self.head_dim)
        self.value_compressor = BlockCompressor(compress_block, self.head_dim)
        self.chosen_k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.window_k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.reset_parameters()

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the gate as such, and the positions within compressed blocks as embeddings."""
        kinds: dict[str, Kind] = {
            "gate_proj.weight": "gate",
            "key_compressor.places": "embedding",
            "value_compressor.places": "embedding",
        }
        return super().parameter_info() | {
            name: ParamInfo(role=self.role, kind=kind, decay=False) for name, kind in kinds.items()
        }

    def _align(self, layout: Layout) -> int:
        return self.selection.size

    def _attend(self, x: Tensor, blocks: DocumentBlocks) -> Tensor:
        q, raw_k, raw_v, k_selected, v_selected, k_near, v_near = self._project(x)
        q, k_selected = self._rotate(q, k_selected, blocks.layout)
        k_near, _ = self._rotate(k_near, k_near[:, :0], blocks.layout)
        far = compressed_and_selected(
            q,
            self._compress(raw_k, raw_v, blocks),
            (k_selected, v_selected),
            blocks,
            self.selection,
            softcap=self.softcap,
        )
        back, ahead = (self.window, 0) if self.causal else (self.window // 2, self.window // 2)
        near = band_attention(q, k_near, v_near, blocks, back=back, ahead=ahead, softcap=self.softcap)
        return self._gated(x, (*far, near))

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q ``(B, H, L, d)`` and the keys and values of each branch, before compression."""
        q, raw_k, raw_v, k_selected, v_selected, k_near, v_near = self._split(x)
        k_selected, k_near = normed(k_selected, self.chosen_k_norm), normed(k_near, self.window_k_norm)
        return normed(q, self.q_norm), raw_k, raw_v, k_selected, v_selected, k_near, v_near

    def _gated(self, x: Tensor, branches: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of the gated branches ``(B, H, T, d)``, with heads concatenated ``(B, T, D)``."""
        gates = self.gate_proj(x).sigmoid().unflatten(-1, (3, self.num_heads, 1)).unbind(2)
        read = [gate * branch.transpose(1, 2) for gate, branch in zip(gates, branches, strict=True)]
        return (read[0] + read[1] + read[2]).flatten(2)

    def _compress(self, k: Tensor, v: Tensor, blocks: DocumentBlocks) -> tuple[Tensor, Tensor]:
        """Return a compressed key and value for each stride of the row, ``(B, G, m, d)``."""
        length, stride = self.selection.window, self.selection.stride
        documents = blocks.layout.documents
        theirs = F.pad(documents, (0, length - stride), value=-1).unfold(1, length, stride)  # (B, m, l)
        inside = (theirs == documents[:, ::stride, None]) & (theirs >= 0)
        tokens = (F.pad(x, (0, 0, 0, length - stride)).unfold(2, length, stride) for x in (k, v))
        k, v = (
            compress(part.transpose(-1, -2), inside[:, None])
            for compress, part in zip((self.key_compressor, self.value_compressor), tokens, strict=True)
        )
        first = torch.arange(0, blocks.places, stride, device=k.device).expand(len(k), -1)
        k = normed(k, self.k_norm)
        k, _ = self._rotate(k, k[:, :0], blocks.at(first))
        return k, v

    def init_state(self, batch: int) -> NSACache:
        """Return the empty caches of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        empty = self._no_keys(batch)
        return NSACache((empty, empty), (empty, empty), (empty, empty), (empty, empty), 0)

    def step(self, x_t: Tensor, state: NSACache) -> tuple[Tensor, NSACache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated caches."""
        self.enter_step(x_t, state)
        x, here, selection = x_t[:, None], state.length, self.selection
        q, raw_k, raw_v, k_selected, v_selected, k_near, v_near = self._project(x)
        layout = one_token(x_t, here)
        q, k_selected = self._rotate(q, k_selected, layout)
        k_near, _ = self._rotate(k_near, k_near[:, :0], layout)
        raw = _longer(state.raw, (raw_k, raw_v), selection.window)
        selected = _longer(state.selected, (k_selected, v_selected))
        near = _longer(state.window, (k_near, v_near), self.window + 1)
        compressed = state.compressed
        first = here + 1 - selection.window
        if first >= 0 and first % selection.stride == 0:
            inside = torch.ones(1, 1, 1, selection.window, dtype=torch.bool, device=x.device)
            k, v = (
                compress(part[:, :, None], inside)
                for compress, part in zip((self.key_compressor, self.value_compressor), raw, strict=True)
            )
            k = normed(k, self.k_norm)
            k, _ = self._rotate(k, k[:, :0], one_token(x_t, first))
            compressed = _longer(compressed, (k, v))
        every = torch.ones(1, 1, compressed[0].shape[2], dtype=torch.bool, device=x.device)
        small, weights = compressed_attention(q, *compressed, every, softcap=self.softcap)
        mask = selected_tokens(weights, here, selection)
        mask = mask.repeat_interleave(self.num_heads // self.num_kv_heads, 1)
        read = masked_softcap_attention(q, *selected, mask, softcap=self.softcap)
        window = masked_softcap_attention(q, *near, softcap=self.softcap)
        y = self._gated(x, (small, read, window)).squeeze(1)
        return self.out_proj(y), NSACache(raw, compressed, selected, near, here + 1)


def _longer(
    cache: tuple[Tensor, Tensor], new: tuple[Any, ...], most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return keys and values with the new ones appended, at most the last ``most``."""
    k, v = (torch.cat([old, more], 2) for old, more in zip(cache, new, strict=True))
    return (k, v) if most is None else (k[:, :, -most:], v[:, :, -most:])
