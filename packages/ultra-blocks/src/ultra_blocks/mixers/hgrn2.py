"""HGRN2: a gated linear recurrence with state expansion, whose keys are the complement of its decays."""

from __future__ import annotations

import math
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


class HGRN2(LinearRecurrence):
    """Hierarchically gated recurrence with state expansion, bidirectional or causal, linear in the length.

    ``S_t = diag(f_t) S_{t-1} + (1 - f_t)^T v_t``, ``y_t = d_k^{-1/2} q_t S_t`` in each head: a key channel
    writes as much as it forgets. ``f_t = b + (1 - b) sigmoid(W_f x_t)`` with a lower bound b per channel,
    which is higher in later layers, so that these have a longer memory. ``q, v`` pass through a short
    convolution and SiLU. Bidirectional: ``y = F_1(q, v) + rev F_2(rev q, rev v) - own``, where both
    directions have separate ``f`` and hence keys; ``own`` is the mean of their terms of the token itself,
    which thus count once. Then ``out = W_O (swish(x W_G) * RMSNorm(y))``, with a norm over each head.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, a divisor of D; None: the one with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        lower_bound: initial value of b in all channels, which is then learned; 0: b stays 0. An encoder of L
            layers sets 0, 1/L, .., (L-1)/L.
        conv_size: kernel size of the convolution; None: 4 if causal, else 5, centred and therefore odd; 0: no
            convolution.
        output_gate: activation of the output gate; "none": no gate.
        chunk_size: tokens of a chunk, rounded up to a power of two; it affects speed only.
        eps: added to the mean square of the head.
        linear: factory of the input and output projections.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions are not used; the order is that of the real tokens.

    Raises:
        ValueError: ``num_heads`` does not divide D, or the kernel size of a centred convolution is even.

    Paper: Qin et al. 2024, "HGRN2: Gated Linear RNNs with State Expansion", arXiv:2404.07904.
    Differs from the paper: bidirectional unless ``causal``. In the paper the
    bounds are cumulative sums of a softmax over the layers, 0 in the first and increasing. Here each layer
    learns its own bound, which starts at such a sum, so that a block works alone but only training keeps the
    bounds increasing. There is a short convolution on q and v and an output gate besides q, as in the rest of
    the family (``conv_size: 0`` and ``output_gate: none`` omit them); the norm is over each head, not over
    all.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"hgrn2_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.hgrn2:hgrn2"
    role: ClassVar[str] = "hgrn2"
    projects_keys: ClassVar[bool] = False
    gate_modules: ClassVar[tuple[str, ...]] = ("forget_proj",)
    exact_parameters: ClassVar[tuple[str, ...]] = ("bound",)

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        lower_bound: Annotated[float, FromModel("layer_depth"), Range(min=0, lt=1)] = 0.0,
        conv_size: Annotated[int, Range(min=0)] | None = None,
        output_gate: OutputGate = "swish",
        chunk_size: Annotated[int, Range(min=1)] = 128,
        eps: Annotated[float, Range(gt=0)] = 1e-5,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        num_heads = number_of_heads(num_heads, hidden_size, width=RECURRENT_WIDTH)
        require(HGRN2, num_heads=num_heads, lower_bound=lower_bound, chunk_size=chunk_size)
        width = head_width("HGRN2", hidden_size, num_heads)
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            key_dim=width,
            value_dim=width,
            causal=causal,
            conv_size=conv_size,
            output_gate=output_gate,
            eps=eps,
            linear=linear,
        )
        self.lower_bound = lower_bound
        self.chunk_size = chunk_size
        self.forget_proj = nn.Linear(hidden_size, self.directions * hidden_size, bias=False)
        self.bound = nn.Parameter(torch.empty(hidden_size)) if lower_bound else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections and gates N(0, std^2); bounds start at ``lower_bound``."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if self.bound is not None:
            self.bound.fill_(math.log(self.lower_bound / (1 - self.lower_bound)))

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in projections; each direction has its own ``W_f``."""
        return {**super().row_blocks(), "forget_proj.weight": self.directions * (self.hidden_size,)}

    def gates(self, x: Tensor) -> list[Gates]:
        """Return ``log f`` and the keys ``1 - f``, both ``(..., H, d_k)``, of each direction."""
        exact = torch.promote_types(x.dtype, torch.float32)
        return [
            tuple(y.unflatten(-1, (self.num_heads, -1)) for y in self._forget(raw.to(exact)))
            for raw in self.forget_proj(x).chunk(self.directions, -1)
        ]

    def _forget(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``log f`` and ``1 - f``, computed separately because f may be close to 0 or 1."""
        log_f, key = F.logsigmoid(raw), (-raw).sigmoid()
        if self.bound is None:
            return log_f, key
        above = F.logsigmoid(-self.bound)
        return torch.logaddexp(F.logsigmoid(self.bound), above + log_f), above.exp() * key

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Sequence[Gates], documents: Tensor | None
    ) -> Tensor:
        """Return ``y_t = q_t S_t``; both directions share queries and values, but not keys and decays."""
        del k
        decays, keys = zip(*gates, strict=True)
        return gated_linear(q, keys, v, decays, chunk_size=self.chunk_size, documents=documents)

    def recur(self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y = q S'`` and ``S' = diag(f) S + (1 - f)^T v``."""
        del k
        log_f, key = gates
        return gated_step(q, key, v, log_f, memory)
