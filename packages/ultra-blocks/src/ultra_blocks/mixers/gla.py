"""Gated linear attention: a linear recurrence with a data-dependent decay per key channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.functional.dispatch import gated_linear
from ultra_blocks.functional.gated_linear import gated_step
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.heads import RECURRENT_WIDTH, number_of_heads
from ultra_blocks.mixers.linear_recurrence import Gates, LinearRecurrence, OutputGate, head_width
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class GLA(LinearRecurrence):
    """Gated linear attention, bidirectional or causal, in time linear in the length.

    ``S_t = diag(a_t) S_{t-1} + k_t^T v_t``, ``y_t = d_k^{-1/2} q_t S_t`` in each head, with a
    data-dependent decay of each key channel, ``a_t = sigmoid(W_2 W_1 x_t + b)^{1 / tau}``. ``q, k, v`` pass
    through a short convolution and SiLU. Bidirectional: ``y = F_1(q, k, v) + rev F_2(rev q, rev k, rev v) -
    own``, where both directions have separate decays and ``own`` is the term of the token itself, which thus
    counts once. Then
    ``out = W_O (swish(x W_G) * RMSNorm(y))``, with a norm over each head.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H; None: the divisor of D with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        key_expansion: total width of the keys divided by D.
        value_expansion: total width of the values divided by D.
        gate_rank: width between W_1 and W_2.
        gate_temperature: tau; a larger value makes the initial decay slower.
        conv_size: kernel size of the convolution; None: 4 if causal, else 5, centred and therefore odd; 0: no
            convolution.
        output_gate: activation of the output gate; "none": no gate.
        chunk_size: tokens of a chunk, rounded up to a power of two; it affects speed only.
        eps: added to the mean square of the head.
        linear: factory of the input and output projections.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions are not used; the order is that of the real tokens.

    Raises:
        ValueError: a width does not divide into heads, or the kernel size of a centred convolution is even.

    Paper: Yang et al. 2024, "Gated Linear Attention Transformers with Hardware-Efficient Training",
    arXiv:2312.06635.
    Differs from the paper: bidirectional unless ``causal``; a short convolution and SiLU on q, k and v, as
    in later members of the family (``conv_size: 0`` leaves only SiLU); RMS norm per head instead of
    LayerNorm, as in the authors' code; nothing is divided by decays, as the paper does within chunks.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"gla_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.gla:gla"
    role: ClassVar[str] = "gla"
    gate_modules: ClassVar[tuple[str, ...]] = ("decay_down", "decay_up")

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        key_expansion: Annotated[float, Range(gt=0)] = 0.5,
        value_expansion: Annotated[float, Range(gt=0)] = 1.0,
        gate_rank: Annotated[int, Range(min=1)] = 16,
        gate_temperature: Annotated[float, Range(gt=0)] = 16.0,
        conv_size: Annotated[int, Range(min=0)] | None = None,
        output_gate: OutputGate = "swish",
        chunk_size: Annotated[int, Range(min=1)] = 128,
        eps: Annotated[float, Range(gt=0)] = 1e-5,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        num_heads = number_of_heads(num_heads, hidden_size, width=RECURRENT_WIDTH)
        sizes = {"key_expansion": key_expansion, "value_expansion": value_expansion, "gate_rank": gate_rank}
        require(GLA, **sizes, num_heads=num_heads, chunk_size=chunk_size, gate_temperature=gate_temperature)
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            key_dim=head_width("GLA", hidden_size, num_heads, "key_expansion", key_expansion),
            value_dim=head_width("GLA", hidden_size, num_heads, "value_expansion", value_expansion),
            causal=causal,
            conv_size=conv_size,
            output_gate=output_gate,
            eps=eps,
            linear=linear,
        )
        self.gate_temperature = gate_temperature
        self.chunk_size = chunk_size
        keys = num_heads * self.key_dim
        self.decay_down = nn.Linear(hidden_size, self.directions * gate_rank, bias=False)
        self.decay_up = nn.ModuleList(nn.Linear(gate_rank, keys) for _ in range(self.directions))
        self.reset_parameters()

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in projections; each direction has its own ``W_1``."""
        rank = self.decay_down.out_features // self.directions
        return {**super().row_blocks(), "decay_down.weight": self.directions * (rank,)}

    def gates(self, x: Tensor) -> list[Gates]:
        """Return ``log a`` ``(..., H, d_k)`` of each direction."""
        exact = torch.promote_types(x.dtype, torch.float32)
        raw = [
            up(y) for up, y in zip(self.decay_up, self.decay_down(x).chunk(self.directions, -1), strict=True)
        ]
        logs = [F.logsigmoid(y.to(exact)) / self.gate_temperature for y in raw]
        return [(y.unflatten(-1, (self.num_heads, -1)),) for y in logs]

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Sequence[Gates], documents: Tensor | None
    ) -> Tensor:
        """Return ``y_t = q_t S_t``; both directions share queries and keys, but not decays."""
        decays = [log_decay for (log_decay,) in gates]
        keys = [k.view_as(k) for _ in decays]  # torch.compile takes no tensor twice
        return gated_linear(q, keys, v, decays, chunk_size=self.chunk_size, documents=documents)

    def recur(self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y = q S'`` and ``S' = diag(a) S + k^T v``."""
        return gated_step(q, k, v, gates[0], memory)
