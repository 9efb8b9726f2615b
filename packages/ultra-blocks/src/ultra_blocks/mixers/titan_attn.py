"""Titans: softmax attention combined with a neural memory that learns while it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.neural_memory import MemoryState
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
    """Decoding state of the variants ``mag`` and ``mal``: attention cache and neural memory."""

    cache: KVCache
    memory: MemoryState


class TitanAttention(SoftmaxAttention):
    """Softmax attention with hyperbolic positions and a neural long-term memory (Titans: MAG, MAC, MAL).

    Per head, with scores s that include the position code, over the tokens of the document, and P learned
    persistent tokens without position, to which every query attends::

        A = softmax([q K_P^T, s(q, k)] / sqrt(d)),      Attn(x) = A [V_P; V]
        S_t = eta_t S_{t-1} - theta_t grad |k_t M - v_t|^2,     M_t = (1 - alpha_t) M_{t-1} + S_t
        g(x) = sigmoid(norm(q_t M_t))

    * ``mag``, memory as a gate: ``y = W_O [norm(Attn(x)) * g(x)]``;
    * ``mal``, memory as a layer: ``y = W_O Attn(x + norm(q_t M_t))``;
    * ``mac``, memory as context: the document is divided into segments of ``memory_chunk`` tokens. A
      segment retrieves ``h = gain sqrt(d) q_r M' / |M'|`` from the memory before it, where ``q_r`` is the
      unit vector along ``silu(W_r x)`` and ``|M'|`` the Frobenius norm, and attends to [P | h | itself]. The
      memory then learns from the output of attention and is queried with it: ``a = norm(Attn([h | x]))``,
      ``y = W_O [a * g(a)]``.

    The memory has separate q, k, v and gates, see :class:`~ultra_blocks.mixers.titan.memory.TitanMemory`;
    inside a chunk, gradients are taken at the memory before it. It is empty at the start of every document.
    In encoders, two memories process the document from its two ends. ``mag`` and ``mal`` use the sum of their
    outputs. ``mac`` processes the segments in both orders, with the same weights except for the gates of the
    memory and with bidirectional attention inside a segment, and uses the mean. Without the memory
    (``memory: false``), the block is ``y = W_O Attn(x)``.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens; then ``init_state`` and ``step`` decode.
        positions: position code of the attention; the memory depends on the order of tokens only.
        memory: whether there is a memory.
        variant: use of the memory, as above.
        memory_depth: number of layers of M: 1, a matrix, or 2, ``M(x) = x + o / |o|`` with
            ``o = silu(x W_1) W_2``, see :class:`~ultra_blocks.mixers.titan.deep_memory.DeepMemory`. ``M(q)``
            then replaces ``q M`` above, and ``h = gain sqrt(d) M'(q_r)``.
        memory_chunk: tokens whose gradients are taken at the same memory, counted in the document; for
            ``mac`` the segment. It changes the model: shorter chunks follow the gradient more exactly but
            need more sequential products.
        persistent_tokens: number of persistent tokens P; None: 4 with a memory, else 0. With P > 0 all scores
            are in memory.
        qk_norm: RMS norm with gain of each query and key of the attention over d, before the position code.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores of the attention, including those of persistent and retrieved tokens, become
            ``softcap * tanh(S / softcap)``, before masks and biases.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections of the attention have biases.
        linear: factory of the projections, except those of gates.

    Shapes:
        x, y ``(B, T, D)``. Decoding state: 3 H d^2 elements of the memory (12 H d^2 with two layers), and
        2 D per token (``mac``: 4 D per token of the segment). Chunks are processed in a loop, which for
        ``mac`` includes the attention; the time of ``mac`` is linear in T.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, ``variant`` is not ``mag``
            without a memory, ``mac`` has a window, or the position code is of a kind that attention cannot
            apply.

    Papers: Behrouz, Zhong, Mirrokni 2025, "Titans: Learning to Memorize at Test Time", arXiv:2501.00663;
    positions: Dai et al. 2025, "HoPE", arXiv:2509.05218.
    Differs from the paper: a matrix memory starts at 0, and forgetting returns a memory of two layers to
    learned initial weights, since an MLP at 0 has no gradient; there is no short convolution; the memory does
    not process persistent tokens; the inner step is theta (1 - eta) / C, on the mean loss of a chunk of C
    tokens, since the plain sum of the paper diverges for similar keys; norms are per head and the gate is a
    sigmoid; attention covers the whole document unless ``window``; bidirectional unless ``causal``. ``mal``
    adds the output of the memory to the tokens, where the paper passes it on alone, so that an empty memory
    does not hide the token. In ``mac``, retrieved tokens are scaled by the norm of the memory, which keeps
    errors from growing from segment to segment, and have no position; there are none while the memory is
    empty (in the first segment); the memory is queried with ``silu(W_q a)`` where the paper writes ``M(a)``;
    the paper's form is causal over segments, the form for encoders is added.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"titan": Alias()}
    reference: ClassVar = "ultra_blocks.reference.titan_attn:titan_attn"
    traits: ClassVar[Traits] = Traits(
        recurrent_step=True, positions=frozenset({"rotate", "bias", "scores"}), symmetric=False
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
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
                hidden_size, num_heads=self.num_heads, causal=causal, chunk_size=memory_chunk, linear=linear
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
        """Initialise the weights: projections N(0, std^2), persistent tokens N(0, 1)."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if (persistent := getattr(self, "persistent", None)) is not None:
            persistent.normal_()
        if (memory := getattr(self, "memory", None)) is not None:
            memory.reset_start()
        if (gain := getattr(self, "retrieved_gain", None)) is not None:
            gain.fill_(1.0)

    def row_blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Return the heights of the matrices of q, k and v in both projections."""
        own = super().row_blocks()
        return own if self.memory is None else {**own, "memory.qkv_proj.weight": self.memory.heights}

    def logit_rows(self) -> tuple[LogitRows, ...]:
        """Return the rows of queries and keys; none with a memory or persistent tokens.

        Logits of these are not recorded. A block without both is attention with a position code.
        """
        return super().logit_rows() if self.memory is None and self.persistent is None else ()

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters; gates and persistent tokens have no weight decay."""
        info = super().parameter_info()
        for name in info:
            if name.startswith("memory.gate_proj."):
                info[name] = ParamInfo(role=self.role, kind="gate", decay=False)
            elif name in ("memory.first", "memory.second"):  # one matrix per head
                info[name] = ParamInfo(role=self.role, kind="expert", expert_dim=0)
        if self.persistent is not None:
            info["persistent"] = ParamInfo(role=self.role, kind="embedding", decay=False)
        return info

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return the branch ``(B, T, D)`` of ``x`` ``(B, T, D)``; zeros at padding."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
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
        """Return the initial state of ``batch`` rows.

        It is a :class:`TitanState`, for ``mac`` a :class:`~ultra_blocks.mixers.titan.context.ContextState`,
        and without a memory a KVCache.

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
        """Return the output ``(B, D)`` at the next token of every row, and the updated state."""
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
        """Return ``x + norm(read)``: x ``(..., D)``, read ``(..., H, d)``."""
        return x + self.memory_norm(read).flatten(-2).to(x.dtype)

    def gate(self, heads: Tensor, read: Tensor) -> Tensor:
        """Return ``heads sigmoid(norm(read))``, both ``(..., H, d)``, as ``(..., D)``."""
        gate = self.memory_norm(read).sigmoid()
        return (heads * gate.to(heads.dtype)).flatten(-2)

    @property
    def has_weights(self) -> bool:
        """Whether the block has neither a memory nor persistent tokens, whose part no weights show."""
        return self.memory is None and self.persistent is None

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
        """Prepend the persistent tokens to keys and values; their scores depend on no position."""
        if self.persistent is not None:
            _, keys, values = self.project(self.persistent[None])
            added = len(self.persistent)
            fixed = plain @ keys.to(plain.dtype).mT * self.head_dim**-0.5
            scores = torch.cat((fixed.to(scores.dtype), scores), -1)
            v = torch.cat((values.to(v.dtype).expand(len(v), -1, -1, -1), v), -2)
            mask = None if mask is None else F.pad(mask, (added, 0), value=True)
            bias = None if bias is None else F.pad(bias, (added, 0))
        return super()._read(plain, scores, v, mask=mask, bias=bias, dropout=dropout)
