"""BigBird: block-sparse attention to neighbouring, first, last and random blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ultra_blocks.functional.block_sparse import block_sparse_attention, random_blocks
from ultra_blocks.functional.document_blocks import DocumentBlocks
from ultra_blocks.functional.softcap_attention import masked_softcap_attention, softcap_attention
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.softmax import KVCache
from ultra_blocks.mixers.sparse import SparseAttention, one_token
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class BigBirdAttention(SparseAttention):
    """Softmax attention between blocks of tokens: window, first and last block, and random links.

    The real tokens of each document are divided into n blocks 0..n-1 of ``block_size``. A token in block a
    attends to the tokens of the blocks ::

        S(a) = {0, a-1, a, a+1, n-1} and R_h(a),    S(0) = S(n-1) = all
        causal: S(a) = {0, a-1, a} and R_h(a), without later tokens

    of its document, where ``R_h(a)`` are ``random_blocks`` others, sampled without replacement for each head
    (causal: from 1..a-2). Per head ``y_i = softmax_j(q_i k_j / sqrt(d)) v_j`` over them, and
    ``Y = [y over heads] W_O``. Documents of up to ``4 + random_blocks`` blocks are attended to in full.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        block_size: tokens of a block.
        random_blocks: number of random links of each block and head; 0: none.
        positions: position code of kind "rotate", or "nope".
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks. They are then computed by tiles,
            in memory linear in T but slower than by fused kernels, which have no cap.
        bias: whether the projections have biases.
        linear: factory of the projections.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``out_proj.weight`` ``(D, D)``.
        Buffer ``plan_seed`` ``()`` int64: sampled when the block is built and saved with the weights; all
        random links follow from it, in training and evaluation alike.
        Decoding state: 2 D elements per token, since links may reach any earlier block.
        Time and memory: ``(5 + random_blocks) block_size`` scores per token and head.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that the block cannot apply.

    Paper: Zaheer et al. 2020, "Big Bird", arXiv:2007.14062 (the ITC variant); softcap: Gemma Team 2024,
    arXiv:2408.00118.
    Differs from the paper: blocks are counted in each document, so that padding and packing have no effect,
    and the last one may be short; links follow from a hash instead of a table, so that documents may have any
    length; attention weights have no dropout. The causal form is the pattern restricted to the past, without
    the last block, because knowing which block is last would leak the future.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"bigbird": Alias()}
    reference: ClassVar = "ultra_blocks.reference.bigbird_attn:bigbird_attn"
    traits: ClassVar[Traits] = Traits(
        full_context=False,
        recurrent_step=True,
        positions=frozenset({"rotate"}),
        linear_time=True,
        averages=True,
        scaled_scores=True,
    )
    variations: ClassVar[Mapping[str, Any]] = {"random_blocks": {"block_size": 8}}

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        block_size: Annotated[int, Range(min=1)] = 64,
        random_blocks: Annotated[int, Range(min=0)] = 3,
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
        if block_size < 1:
            raise ValueError(f"BigBirdAttention: block_size must be 1 or more; given {block_size}")
        if random_blocks < 0:
            raise ValueError(f"BigBirdAttention: random_blocks must be 0 or more; given {random_blocks}")
        require(BigBirdAttention, block_size=block_size, random_blocks=random_blocks)
        self.block_size = block_size
        self.random_blocks = random_blocks
        self.register_buffer("plan_seed", torch.randint(2**31, ()))
        self.reset_parameters()

    def _align(self, layout: Layout) -> int:
        return self.block_size

    def _attend(self, x: Tensor, blocks: DocumentBlocks) -> Tensor:
        q, k, v = self._project(x)
        q, k = self._rotate(q, k, blocks.layout)
        always = 3 if self.causal else 4  # with so few blocks, all are attended to
        if blocks.places <= (always + self.random_blocks) * self.block_size:
            y = softcap_attention(q, k, v, blocks.layout, causal=self.causal, softcap=self.softcap)
        else:
            y = block_sparse_attention(
                q,
                k,
                v,
                blocks,
                size=self.block_size,
                drawn=self.random_blocks,
                seed=cast(Tensor, self.plan_seed),
                causal=self.causal,
                softcap=self.softcap,
            )
        return y.transpose(1, 2).flatten(2)

    def init_state(self, batch: int) -> KVCache:
        """Return the empty cache of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        empty = self._no_keys(batch)
        return KVCache(empty, empty, 0)

    def step(self, x_t: Tensor, state: KVCache) -> tuple[Tensor, KVCache]:
        """Return the output ``(B, D)`` at the next token of every row, and the updated cache."""
        self.enter_step(x_t, state)
        q, k, v = self._project(x_t[:, None])
        q, k = self._rotate(q, k, one_token(x_t, state.length))
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        block = state.length // self.block_size
        mine = torch.tensor(block, device=x_t.device)
        drawn, valid = random_blocks(
            mine, None, cast(Tensor, self.plan_seed), self.num_heads, self.random_blocks
        )  # (H, r)
        theirs = torch.arange(state.length + 1, device=x_t.device) // self.block_size
        seen = ((theirs[:, None] == drawn[:, None]) & valid[:, None]).any(-1)  # (H, t)
        seen = seen | (theirs == 0) | (theirs >= block - 1)
        y = masked_softcap_attention(
            q, keys, values, seen[None, :, None].expand(len(q), -1, -1, -1), softcap=self.softcap
        )
        return self.out_proj(y.transpose(1, 2).flatten(1)), KVCache(keys, values, state.length + 1)
