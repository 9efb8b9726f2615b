"""Titans: softmax attention beside, over or around a neural memory that learns while it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.neural_memory import Memory
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.softmax import KVCache, SoftmaxAttention
from ultra_blocks.mixers.titan.context import context_state, context_step, read_segments
from ultra_blocks.mixers.titan.deep_memory import DeepMemory
from ultra_blocks.mixers.titan.memory import TitanMemory
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, LogitRows, ParamInfo, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require

Variant = Literal["mag", "mac", "mal"]


class TitanState(NamedTuple):
    """What a causal block remembers, ``mac`` apart: keys and values of the attention, and the memory."""

    cache: KVCache
    memory: Memory


class TitanAttention(SoftmaxAttention):
    """Softmax attention with hyperbolic positions and a neural long-term memory (Titans: MAG, MAC, MAL).

    Per head, with the scores s of the position code over the tokens of the document, and P persistent
    tokens, learnt, without position and in sight of every query::

        A = softmax([q K_P^T, s(q, k)] / sqrt(d)),      Attn(x) = A [V_P; V]
        S_t = eta_t S_{t-1} - theta_t grad |k_t M - v_t|^2,     M_t = (1 - alpha_t) M_{t-1} + S_t
        g(x) = sigmoid(norm(q_t M_t))

    * ``mag``, memory as a gate: ``y = W_O [norm(Attn(x)) * g(x)]``;
    * ``mal``, memory as a layer: ``y = W_O Attn(x + norm(q_t M_t))``;
    * ``mac``, memory as context: the document is cut into segments of ``memory_chunk`` tokens; a segment
      asks the memory before it ``h = gain sqrt(d) q_r M' / |M'|``, with ``q_r`` the unit vector along
      ``silu(W_r x)`` and the Frobenius norm, and attends to [P | h | itself]; the memory then learns from and
      is read with what attention gave: ``a = norm(Attn([h | x]))``, ``y = W_O [a * g(a)]``.

    The memory has q, k, v and gates of its own, see :class:`~ultra_blocks.mixers.titan.memory.TitanMemory`;
    inside a chunk gradients are taken at the memory before it. It starts empty at every document. In encoders
    two memories read from its two ends: for ``mag`` and ``mal`` their sum is what is read; ``mac`` reads the
    segments in both orders, with the same weights but gates of the memory, attending both ways inside a
    segment, and ``y`` is made of the mean. Without the memory (``memory: false``) it is ``y = W_O Attn(x)``.

    Args:
        hidden_size: width D of the stream.
        num_heads: heads H; each is ``d = D / H`` wide.
        causal: a token sees itself and what comes before; then ``init_state`` and ``step`` decode.
        positions: position code of the attention; the memory has none but its order of reading.
        memory: whether there is a memory.
        variant: where it stands.
        memory_depth: layers of M, 1: a matrix, or 2: ``M(x) = x + o / |o|``, ``o = silu(x W_1) W_2``, see
            :class:`~ultra_blocks.mixers.titan.deep_memory.DeepMemory`; then ``M(q)`` stands for ``q M`` above, and
            ``h = gain sqrt(d) M'(q_r)``.
        memory_chunk: tokens whose gradients are taken at one memory, counted in the document; for ``mac`` the
            segment. Not a matter of speed alone: shorter ones are another, more exact descent with more
            products in a row.
        persistent_tokens: P; None: 4 with a memory, else 0. With some the scores are kept in memory.
        qk_norm: RMS norm with gain over d of each query and key of the attention, before the position code.
        window: local attention: encoders see ``|p_i - p_j| <= window // 2``, causal blocks ``window`` back.
        softcap: scores of the attention, those of persistent and of retrieved tokens among them, become
            ``softcap * tanh(S / softcap)``, before masks and biases.
        dropout: probability that a weight of A is dropped in training.
        bias: whether the projections of the attention have shifts.
        linear: factory of the projections, except those of gates.

    Shapes:
        x, y ``(B, T, D)``. Decoding state: 3 H d^2 numbers of the memory (12 H d^2 with two layers),
        and 2 D a token (``mac``: 4 D a
        token of the segment). Time: a loop over chunks; for ``mac`` with the attention inside, and linear.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, another variant than ``mag``
            without a memory, a window for ``mac``, or the position code is of a kind that attention cannot
            apply.

    Papers: Behrouz, Zhong, Mirrokni 2025, "Titans: Learning to Memorize at Test Time", arXiv:2501.00663;
    positions: Dai et al. 2025, "HoPE", arXiv:2509.05218.
    Differs from the paper: a matrix starts from 0; of two layers forgetting returns to learnt first weights,
    since at 0 there is nothing to descend; no short convolution; the memory sees no persistent tokens; the
    inner step is theta (1 - eta) / C, on the mean loss of a chunk of C tokens,
    since the paper's plain sum of steps diverges where keys are alike; norms by head, sigmoid as gate;
    attention over the whole document unless ``window``; bidirectional unless ``causal``. ``mal`` adds what is
    read to the tokens, where the paper hands on it alone: an empty memory would hide the token. In ``mac``
    retrieved tokens are scaled by the length of the memory, which keeps errors from growing from segment to
    segment, and have no position; there are none while the memory is empty (in the first segment), and the
    memory is read with ``silu(W_q a)`` where the paper writes ``M(a)``; the paper's is causal over
    segments, its form for encoders is ours.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"titan": Alias()}
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
        variant: Variant = "mag",
        memory_depth: Literal[1, 2] = 1,
        memory_chunk: Annotated[int, Range(min=1)] = 64,
        persistent_tokens: Annotated[int, Range(min=0)] | None = None,
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
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
        require(TitanAttention, memory_chunk=memory_chunk, persistent_tokens=persistent_tokens)
        if variant not in get_args(Variant) or (variant != "mag" and not memory):
            raise ValueError(
                f"TitanAttention: variant must be one of {', '.join(get_args(Variant))}, and mag without a "
                f"memory; given {variant!r} with memory={memory}"
            )
        if memory_depth not in (1, 2) or (memory_depth != 1 and not memory):
            raise ValueError(
                "TitanAttention: memory_depth must be 1 or 2, and 1 without a memory; given "
                f"{memory_depth!r} with memory={memory}"
            )
        if variant == "mac" and window is not None:
            raise ValueError(
                f"TitanAttention: window={window} has no meaning for the variant mac, which attends inside "
                "segments of memory_chunk tokens; set that instead"
            )
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
        self.variant = variant
        tokens = torch.empty(persistent_tokens, hidden_size)
        self.persistent = nn.Parameter(tokens) if persistent_tokens else None
        self.memory: TitanMemory | None = None
        if memory:
            self.memory = (TitanMemory if memory_depth == 1 else DeepMemory)(
                hidden_size, num_heads=num_heads, causal=causal, chunk_size=memory_chunk, linear=linear
            )
            self.memory_norm = RMSNorm(self.head_dim)
            if variant != "mal":
                self.attention_norm = RMSNorm(self.head_dim)
            if variant == "mac":
                self.retrieval_proj = linear(hidden_size, hidden_size, bias=False)
                self.retrieved_gain = nn.Parameter(torch.empty(self.head_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Draw new weights: projections N(0, std^2), persistent tokens N(0, 1) as normed tokens are."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if (persistent := getattr(self, "persistent", None)) is not None:
            persistent.normal_()
        if (memory := getattr(self, "memory", None)) is not None:
            memory.reset_start()
        if (gain := getattr(self, "retrieved_gain", None)) is not None:
            gain.fill_(1.0)

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of q, k and v in both projections."""
        own = super().row_blocks()
        return own if self.memory is None else {**own, "memory.qkv_proj.weight": self.memory.heights}

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of plain attention; nothing with a memory or persistent tokens.

        Their logits are not recorded. A block without both is attention with a position code.
        """
        return super().logit_rows() if self.memory is None and self.persistent is None else ()

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters: gates and persistent tokens are not decayed."""
        info = super().parameter_info()
        for name in info:
            if name.startswith("memory.gate_proj."):
                info[name] = ParamInfo(role=self.role, kind="gate", decay=False)
            elif name in ("memory.first", "memory.second"):  # a matrix a head
                info[name] = ParamInfo(role=self.role, kind="expert", expert_dim=0)
        if self.persistent is not None:
            info["persistent"] = ParamInfo(role=self.role, kind="embedding", decay=False)
        return info

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        x = self.enter(x, layout)
        if self.memory is None:
            y = self._attend(x, layout)
        elif self.variant == "mac":
            y = read_segments(self, x, layout)
        elif self.variant == "mal":
            y = self._attend(self.enter(self._added(x, self.memory(x, layout)), layout), layout)
        else:
            heads = self._attend(x, layout).unflatten(-1, (self.num_heads, -1))
            y = self.gate(self.attention_norm(heads), self.memory(x, layout))
        return self.leave(self.out_proj(y), layout)

    def init_state(self, batch: int) -> Any:
        """Return the state of ``batch`` rows.

        A :class:`TitanState`, for ``mac`` a :class:`~ultra_blocks.mixers.titan.context.ContextState`, without
        a memory a KVCache.

        Raises:
            ValueError: the block is not causal.
        """
        cache = super().init_state(batch)
        if self.memory is None:
            return cache
        if self.variant == "mac":
            return context_state(self, batch)
        return TitanState(cache, self.memory.init_state(batch))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output ``(B, D)`` of the next token of every row, and the state with it."""
        if self.memory is None:
            return super().step(x_t, state)
        self.enter_step(x_t, state)
        if self.variant == "mac":
            y, state = context_step(self, x_t, state)
            return self.out_proj(y), state
        read, memory = self.memory.step(x_t, state.memory)
        if self.variant == "mal":
            y, cache = self._attend_next(self._added(x_t, read), state.cache)
        else:
            y, cache = self._attend_next(x_t, state.cache)
            y = self.gate(self.attention_norm(y.unflatten(-1, (self.num_heads, -1))), read)
        return self.out_proj(y), TitanState(cache, memory)

    def _added(self, x: Tensor, read: Tensor) -> Tensor:
        """``x + norm(read)``: x ``(..., D)``, read ``(..., H, d)``."""
        return x + self.memory_norm(read).flatten(-2).to(x.dtype)

    def gate(self, heads: Tensor, read: Tensor) -> Tensor:
        """``heads sigmoid(norm(read))``, both ``(..., H, d)``, as ``(..., D)``."""
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
            _, keys, values = self.project(self.persistent[None])
            added = len(self.persistent)
            fixed = plain @ keys.to(plain.dtype).mT * self.head_dim**-0.5
            scores = torch.cat((fixed.to(scores.dtype), scores), -1)
            v = torch.cat((values.to(v.dtype).expand(len(v), -1, -1, -1), v), -2)
            mask = None if mask is None else F.pad(mask, (added, 0), value=True)
            bias = None if bias is None else F.pad(bias, (added, 0))
        return super()._read(plain, scores, v, mask=mask, bias=bias, dropout=dropout)
