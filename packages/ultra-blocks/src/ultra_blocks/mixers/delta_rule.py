"""DeltaRule, the base of blocks with a delta rule: unit keys, write strengths and the scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultra_blocks.functional.delta_rule import DeltaGates, delta_step
from ultra_blocks.functional.dispatch import delta_rule
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.heads import RECURRENT_WIDTH, number_of_heads
from ultra_blocks.mixers.linear_recurrence import Gates, LinearRecurrence, OutputGate, head_width
from ultra_core.plugins.signatures import require

DT_RANGE, DT_FLOOR = (1e-3, 1e-1), 1e-4
"""Range of the log-uniform initial step sizes ``softplus(dt_bias)``, and their minimum."""

UNIT_EPS = 1e-6
"""Added to squared norms."""


class DeltaRule(LinearRecurrence):
    """Base of blocks with ``S' = diag(a_t) S_{t-1}``, ``S_t = S' + beta_t k_t^T (v_t - k_t S')``.

    Queries and keys of a head have norm 1. A subclass with a decaying state implements ``log_decays``.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d_k = D / H``; None: the divisor of D with heads closest
            to 128 wide.
        value_expansion: width of the values of a head divided by d_k.
        negative_eigenvalues: write strengths in (0, 2) instead of (0, 1).
        chunk_size: tokens of a chunk.
        causal, conv_size, output_gate, eps, linear: as in :class:`LinearRecurrence`.

    Raises:
        ValueError: ``num_heads`` does not divide ``hidden_size``.
    """

    gate_modules: ClassVar[tuple[str, ...]] = ("beta_proj",)

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int | None,
        value_expansion: int,
        negative_eigenvalues: bool,
        chunk_size: int,
        causal: bool,
        conv_size: int | None,
        output_gate: OutputGate,
        eps: float,
        linear: LinearFactory,
    ) -> None:
        num_heads = number_of_heads(num_heads, hidden_size, width=RECURRENT_WIDTH)
        sizes = {"num_heads": num_heads, "value_expansion": value_expansion, "chunk_size": chunk_size}
        require(type(self), **sizes)
        head_dim = head_width(type(self).__name__, hidden_size, num_heads)
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            key_dim=head_dim,
            value_dim=value_expansion * head_dim,
            causal=causal,
            conv_size=conv_size,
            output_gate=output_gate,
            eps=eps,
            linear=linear,
        )
        self.chunk_size = chunk_size
        self.strongest = 2.0 if negative_eigenvalues else 1.0
        self.beta_proj = nn.Linear(hidden_size, self.directions * num_heads, bias=False)

    def log_decays(self, x: Tensor) -> list[Tensor]:
        """Return ``log a`` of each direction, ``(..., H)`` or ``(..., H, d_k)``; an empty list: no decay."""
        del x
        return []

    def gates(self, x: Tensor) -> list[Gates]:
        """Return the write strengths of each direction, and the decays if there are any."""
        exact = torch.promote_types(x.dtype, torch.float32)
        betas = (self.strongest * self.beta_proj(x).to(exact).sigmoid()).chunk(self.directions, -1)
        decays = self.log_decays(x)
        return list(zip(betas, decays, strict=True)) if decays else [(beta,) for beta in betas]

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return q and k divided by their norms."""
        return _unit(q), _unit(k)

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Sequence[Gates], documents: Tensor | None
    ) -> Tensor:
        """Return ``y_t = q_t S_t``, summed over directions, with each token's own term counted once."""
        directions = [DeltaGates(*gate) for gate in gates]
        return delta_rule(q, k, v, *directions, chunk_size=self.chunk_size, documents=documents)

    def recur(self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``y_t`` and ``S_t`` from ``S_{t-1}``."""
        return delta_step(q, k, v, DeltaGates(*gates), memory)


def initialise_decays(A_log: Tensor, dt_bias: Tensor, lowest: float) -> None:
    """Initialise ``A`` uniformly in [lowest, 16], and ``dt_bias`` such that its softplus is log-uniform."""
    A_log.uniform_(lowest, 16).log_()
    low, high = DT_RANGE
    dt = dt_bias.uniform_(math.log(low), math.log(high)).exp().clamp(min=DT_FLOOR)
    dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))


def _unit(x: Tensor) -> Tensor:
    """Divide vectors by their norm, in at least fp32; 0 stays 0."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    return (exact * (exact.square().sum(-1, keepdim=True) + UNIT_EPS).rsqrt()).to(x.dtype)
