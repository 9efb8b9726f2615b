"""Titans: softmax attention gated by a neural memory that learns while it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.neural_memory import Memory
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.softmax import KVCache, SoftmaxAttention
from ultra_blocks.mixers.titan_memory import TitanMemory
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.options import FromModel, Range
from ultra_core.params import ParamInfo


class TitanState(NamedTuple):
    """What a causal block remembers: keys and values of the attention, and the memory."""

    cache: KVCache
    memory: Memory


class TitanAttention(SoftmaxAttention):
    """Softmax attention with hyperbolic positions, gated by a neural long-term memory (Titans, MAG).

    Per head, with the scores s of the position code over the tokens of the document, and P persistent
    tokens, learnt, without position and in sight of every query::

        A = softmax([q K_P^T, s(q, k)] / sqrt(d)),      a = A [V_P; V]
        S_t = eta_t S_{t-1} - theta_t grad |k_t M - v_t|^2,     M_t = (1 - alpha_t) M_{t-1} + S_t
        y = W_O [norm(a_t) * sigmoid(norm(q_t M_t))]

    The memory has q, k, v and gates of its own, see :class:`~ultra_blocks.mixers.titan_memory.TitanMemory`;
    inside a chunk gradients are taken at the memory before it. In encoders two memories read the document
    from its two ends and their sum is the gate. It starts empty at every document. Without the memory
    (``memory: false``) it is ``y = W_O a`` and there is no parameter of it.

    Args:
        hidden_size: width D of the stream.
        num_heads: heads H; each is ``d = D / H`` wide.
        causal: a token sees itself and what comes before; then ``init_state`` and ``step`` decode.
        positions: position code of the attention; the memory has none but its order of reading.
        memory: whether there is a memory.
        memory_chunk: tokens whose gradients are taken at one memory, counted in the document. Not a matter of
            speed alone: shorter ones are another, more exact descent with more products in a row.
        persistent_tokens: P; None: 4 with a memory, else 0. With some the scores are kept in memory.
        qk_norm: RMS norm with gain over d of each query and key of the attention, before the position code.
        window: local attention: encoders see ``|p_i - p_j| <= window // 2``, causal blocks ``window`` back.
        dropout: probability that a weight of A is dropped in training.
        bias: whether the projections of the attention have shifts.
        linear: factory of the projections, except those of gates.

    Shapes:
        x, y ``(B, T, D)``. Decoding state: 2 D numbers a token, and 3 H d^2 of the memory.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that attention cannot apply.

    Papers: Behrouz, Zhong, Mirrokni 2025, "Titans: Learning to Memorize at Test Time", arXiv:2501.00663;
    positions: Dai et al. 2025, "HoPE", arXiv:2509.05218.
    Differs from the paper: the memory is linear (one layer), starts from 0, has no short convolution and sees
    no persistent tokens; steps are on the mean loss of a chunk, scaled by 1 - eta, which keeps the descent
    stable; norms by head, sigmoid as gate; attention over the whole document unless ``window``; bidirectional
    unless ``causal``. Of its three variants this is memory as a gate.
    """

    traits: ClassVar[Traits] = Traits(
        recurrent_step=True, positions=frozenset({"rotate", "bias", "scores"}), symmetric=False
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 12,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "hope",
        memory: bool = True,
        memory_chunk: Annotated[int, Range(min=1)] = 64,
        persistent_tokens: Annotated[int, Range(min=0)] | None = None,
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        if persistent_tokens is None:
            persistent_tokens = 4 if memory else 0
        if memory_chunk < 1 or persistent_tokens < 0:
            raise ValueError(
                f"TitanAttention: memory_chunk must be 1 or more and persistent_tokens 0 or more; given "
                f"{memory_chunk} and {persistent_tokens}"
            )
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            num_kv_heads=num_heads,
            causal=causal,
            positions=positions,
            qk_norm=qk_norm,
            window=window,
            softcap=None,
            dropout=dropout,
            bias=bias,
            linear=linear,
        )
        tokens = torch.empty(persistent_tokens, hidden_size)
        self.persistent = nn.Parameter(tokens) if persistent_tokens else None
        self.memory: TitanMemory | None = None
        if memory:
            self.memory = TitanMemory(
                hidden_size, num_heads=num_heads, causal=causal, chunk_size=memory_chunk, linear=linear
            )
            self.attention_norm = RMSNorm(self.head_dim)
            self.memory_norm = RMSNorm(self.head_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Draw new weights: projections N(0, std^2), persistent tokens N(0, 1) as normed tokens are."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if (persistent := getattr(self, "persistent", None)) is not None:
            persistent.normal_()
        if (memory := getattr(self, "memory", None)) is not None:
            memory.set_biases()

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of q, k and v in both projections."""
        own = super().row_blocks()
        return own if self.memory is None else {**own, "memory.qkv_proj.weight": self.memory.heights}

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters: gates and persistent tokens are not decayed."""
        info = super().parameter_info()
        for name in info:
            if name.startswith("memory.gate_proj."):
                info[name] = ParamInfo(role=self.role, kind="gate", decay=False)
        if self.persistent is not None:
            info["persistent"] = ParamInfo(role=self.role, kind="embedding", decay=False)
        return info

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        y = self._attend(x, layout)
        if self.memory is not None:
            y = self._gated(y, self.memory(x, layout))
        return self.leave(self.out_proj(y), layout)

    def init_state(self, batch: int) -> Any:
        """Return the state of ``batch`` rows: a :class:`TitanState`, or a KVCache without a memory.

        Raises:
            ValueError: the block is not causal.
        """
        cache = super().init_state(batch)
        return cache if self.memory is None else TitanState(cache, self.memory.init_state(batch))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output ``(B, D)`` of the next token of every row, and the state with it."""
        if self.memory is None:
            return super().step(x_t, state)
        self.require_causal()
        y, cache = self._attend_next(x_t, state.cache)
        read, memory = self.memory.step(x_t, state.memory)
        return self.out_proj(self._gated(y, read)), TitanState(cache, memory)

    def _gated(self, y: Tensor, read: Tensor) -> Tensor:
        """``norm(y) sigmoid(norm(read))`` by head: y ``(..., D)``, read ``(..., H, d)``."""
        heads = self.attention_norm(y.unflatten(-1, (self.num_heads, -1)))
        gate = self.memory_norm(read).sigmoid()
        return (heads * gate.to(heads.dtype)).flatten(-2)

    def _has_kernel(self) -> bool:
        return self.persistent is None and super()._has_kernel()

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
        """Put the persistent tokens before the keys and values; their scores know no position."""
        if self.persistent is not None:
            _, keys, values = self._project(self.persistent[None])
            added = len(self.persistent)
            fixed = plain @ keys.to(plain.dtype).mT * self.head_dim**-0.5
            scores = torch.cat((fixed.to(scores.dtype), scores), -1)
            v = torch.cat((values.to(v.dtype).expand(len(v), -1, -1, -1), v), -2)
            mask = None if mask is None else F.pad(mask, (added, 0), value=True)
            bias = None if bias is None else F.pad(bias, (added, 0))
        return super()._read(plain, scores, v, mask=mask, bias=bias, dropout=dropout)
