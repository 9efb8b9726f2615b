"""Multi-scale retention: attention with a fixed exponential decay per head instead of a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional import fla_forms
from ultra_blocks.functional.fla_forms import RetentionSteps, retention_steps
from ultra_blocks.functional.fla_kernels import usable
from ultra_blocks.functional.retention import (
    ChunkDecays,
    DecayInit,
    RotationGrid,
    chunk_decays,
    log_decays,
    retention,
    rotate,
    rotation_table,
)
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.heads import RECURRENT_WIDTH, number_of_heads
from ultra_blocks.positions import real_positions
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class RetentionState(NamedTuple):
    """Decoding state of a causal block.

    Attributes:
        memory: ``(B, H, d_k, d_v)``, recurrent state, at least fp32.
        position: ``(B,)``, position of the next token.
    """

    memory: Tensor
    position: Tensor


class RetNet(Mixer):
    """Multi-scale retention, bidirectional or causal, in time linear in the length.

    ``y_n = d_k^{-1/2} sum_m gamma_h^{|n-m|} (q~_n . k~_m) v_m`` for each head h (causal: over m <= n), where
    ``q~, k~`` are rotated by their positions; then ``out = W_O (swish(x W_G) * y / rms(y))``, with the root
    mean square over each head. Decays are fixed: ``gamma_h = 1 - 2^{-5-h}``.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, a divisor of D; D / H must be even if keys are rotated. None: the
            divisor with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        bidirectional_form: if not causal, all heads use both sides ("symmetric"), or the first half of them
            uses earlier tokens and the second later ones, with the same decays ("split"); both include the
            token itself.
        value_expansion: width of values and gate divided by D; 2 in the paper.
        decay_init: "powers" is that of the paper; "linspace" spreads ``1 - gamma`` from 1/32 to 1/512 over
            the heads, whatever their number.
        rotation: frequencies of the rotation of queries and keys: "torchscale" (the authors' code), "rope"
            (those of rotary embeddings, on adjacent pairs), or "none".
        chunk_size: tokens of a chunk; it affects speed only.
        eps: added to the mean square of the head.
        linear: factory of the projections.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions and decays count real tokens (``layout.positions``).

    Raises:
        ValueError: ``num_heads`` does not divide D, or heads do not divide into pairs to rotate.

    Paper: Sun et al. 2023, "Retentive Network", arXiv:2307.08621.
    Differs from the paper: bidirectional unless ``causal``; RMS norm per head instead of GroupNorm, and
    no division by the row sums of decays and scores; both are as in, or equal to, the authors' code, because
    the norm removes every scale.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"retnet_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.retnet:retnet"
    role: ClassVar[str] = "retnet"
    traits: ClassVar[Traits] = Traits(
        recurrent_step=True, linear_time=True, speed_only=frozenset({"chunk_size"})
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("retention_heads"), Range(min=1)] = None,
        causal: bool = False,
        bidirectional_form: Literal["symmetric", "split"] = "symmetric",
        value_expansion: Annotated[int, Range(min=1)] = 2,
        decay_init: DecayInit = "powers",
        rotation: RotationGrid = "torchscale",
        chunk_size: Annotated[int, Range(min=1)] = 128,
        eps: Annotated[float, Range(gt=0)] = 1e-6,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        self.split = bidirectional_form == "split" and not causal
        num_heads = number_of_heads(
            num_heads, hidden_size, width=RECURRENT_WIDTH, multiple_of=2 if self.split else 1
        )
        sizes = {"num_heads": num_heads, "value_expansion": value_expansion, "chunk_size": chunk_size}
        forms = {"bidirectional_form": bidirectional_form, "decay_init": decay_init, "rotation": rotation}
        require(RetNet, **sizes, **forms, eps=eps)
        self.key_dim, rest = divmod(hidden_size, num_heads)
        if rest:
            raise ValueError(
                f"RetNet: hidden_size {hidden_size} is not a multiple of its {num_heads} heads; "
                "set num_heads (retention_heads in a preset) to a divisor"
            )
        if rotation != "none" and self.key_dim % 2:
            raise ValueError(
                f"RetNet: hidden_size {hidden_size} over {num_heads} heads gives heads of {self.key_dim}, "
                "which do not fall into pairs to rotate; change num_heads or set rotation: none"
            )
        if self.split and num_heads % 2:
            raise ValueError(
                f"RetNet: bidirectional_form split gives each side half of the heads, but there are "
                f"{num_heads}; make num_heads (retention_heads in a preset) even"
            )
        self.num_heads = num_heads
        self.rotation: RotationGrid = rotation
        self.chunk_size = chunk_size
        self.eps = eps
        self.log_gammas = log_decays(num_heads // 2 if self.split else num_heads, decay_init)
        value_size = value_expansion * hidden_size
        self.widths = (hidden_size, hidden_size, value_size, value_size)  # queries, keys, values, gate
        self.in_proj = fused_linear(linear, hidden_size, self.widths)
        self.out_proj = linear(value_size, hidden_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights, Xavier uniform: gain ``2^-2.5``, of the output ``2^-1 residual_scale``.

        ``std`` has no effect: scores are products of three projections, so that the gain of the paper
        matters.
        """
        del std
        for block in self.in_proj.get_parameter("weight").split(self.widths):
            nn.init.xavier_uniform_(block, gain=2**-2.5)
        nn.init.xavier_uniform_(self.out_proj.get_parameter("weight"), gain=2**-1 * residual_scale)

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in ``in_proj``: queries, keys, values, gate."""
        return {"in_proj.weight": self.widths}

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Mix the tokens ``(B, T, D)`` of each document."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        q, k, v, gate = self._project(x, self._shared_turns(layout, _exact(x)))
        decays = self._shared_decays(layout, _exact(x), v)
        mix: Any = fla_forms.retention if isinstance(decays, RetentionSteps) else retention
        if self.split:
            (q, q_after), (k, k_after), (v, v_after) = (y.chunk(2, 2) for y in (q, k, v))
            before = mix(q, k, v, decays, causal=True)
            after = mix(q_after, k_after, v_after, decays, causal=True, reverse=True)
            y = torch.cat((before, after), 2)
        else:
            y = mix(q, k, v, decays, causal=self.causal)
        return self.leave(self._read_out(y, gate), layout)

    def init_state(self, batch: int) -> RetentionState:
        """Return the initial state of ``batch`` rows."""
        self.require_causal()
        some = next(self.parameters())
        value_dim = self.widths[2] // self.num_heads
        return RetentionState(
            some.new_zeros(batch, self.num_heads, self.key_dim, value_dim, dtype=_exact(some)),
            torch.zeros(batch, dtype=torch.long, device=some.device),
        )

    def step(self, x_t: Tensor, state: RetentionState) -> tuple[Tensor, RetentionState]:
        """Return the output ``(B, D)`` at the next token, ``y = q S'``, and ``S' = gamma S + k^T v``."""
        self.enter_step(x_t, state)
        memory, position = state
        turns = self._turns(position[:, None], memory.dtype)
        q, k, v, gate = self._project(x_t[:, None], turns)
        gamma = torch.tensor(self.log_gammas, dtype=memory.dtype, device=memory.device).exp()
        k, v = k.squeeze(1).to(memory.dtype), v.squeeze(1).to(memory.dtype)
        memory = gamma[:, None, None] * memory + k[..., :, None] * v[..., None, :]
        y = (q.squeeze(1).to(memory.dtype)[..., None, :] * memory.transpose(-1, -2)).sum(-1)
        return self._read_out(y[:, None], gate).squeeze(1), RetentionState(memory, position + 1)

    def _project(self, x: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rotated q and k ``(B, T, H, d_k)``, v ``(B, T, H, d_v)`` and the gate ``(B, T, D_v)``."""
        q, k, v, gate = self.in_proj(x).split(self.widths, -1)
        q, k, v = (y.unflatten(-1, (self.num_heads, -1)) for y in (q, k, v))
        if turns is not None:
            q, k = rotate(q, turns).to(v.dtype), rotate(k, turns).to(v.dtype)
        return q, k, v, gate

    def _read_out(self, y: Tensor, gate: Tensor) -> Tensor:
        """Return ``W_O (swish(gate) * y / rms(y))``; y lacks the factor d_k^{-1/2}, which eps contains."""
        normed = F.rms_norm(y, y.shape[-1:], eps=self.eps * self.key_dim)
        return self.out_proj(F.silu(gate) * normed.flatten(-2).to(gate.dtype))

    def _turns(self, positions: Tensor, dtype: torch.dtype) -> Tensor | None:
        if self.rotation == "none":
            return None
        return rotation_table(positions, self.key_dim, self.rotation, dtype)

    def _shared_turns(self, layout: Layout, dtype: torch.dtype) -> Tensor | None:
        """Return the rotation of a batch, computed once for all layers with the same settings."""
        key = ("retention rotation", self.rotation, self.key_dim, dtype)
        return layout.remember(key, lambda: self._turns(real_positions(layout), dtype))

    def _shared_decays(self, layout: Layout, dtype: torch.dtype, v: Tensor) -> ChunkDecays | RetentionSteps:
        """Return the decays of a batch, computed once for all layers with the same settings."""
        columns = (
            layout.indexed and not layout.packed
        )  # then one table serves all rows, since padding adds zeros
        batch: dict[str, Any] = {"dtype": dtype, "device": layout.mask.device}
        if not columns:
            batch.update(documents=layout.documents, positions=layout.positions)
        if usable(v, self.key_dim):
            key: Any = ("retention steps", self.log_gammas, dtype)
            return layout.remember(key, lambda: retention_steps(self.log_gammas, **batch))
        one_sided = self.causal or self.split
        key = ("retention decays", self.log_gammas, self.chunk_size, one_sided, dtype)
        sizes = (layout.mask.shape[1], self.chunk_size)
        return layout.remember(key, lambda: chunk_decays(self.log_gammas, *sizes, causal=one_sided, **batch))


def _exact(x: Tensor) -> torch.dtype:
    """Return the dtype of states, decays and angles, at least fp32."""
    return torch.promote_types(x.dtype, torch.float32)
