"""Gated DeltaNet: the delta rule on a state with one data-dependent decay per head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.delta_rule import DeltaRule, initialise_decays
from ultra_blocks.mixers.linear_recurrence import OutputGate
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class GatedDeltaNet(DeltaRule):
    """Gated delta rule, bidirectional or causal, in time linear in the length.

    The state of a head learns to map ``k_t`` to ``v_t``, after a decay by one scalar:

    ``S' = a_t S_{t-1}``, ``S_t = S' + beta_t k_t^T (v_t - k_t S')``, ``y_t = d_k^{-1/2} q_t S_t``,
    ``log a_t = -exp(A_log) softplus(W_a x_t + dt_bias)``, ``beta_t = sigmoid(W_b x_t)``;

    q, k, v come from a projection, a short convolution and SiLU, then q and k are divided by their norms.
    ``out = W_O (swish(g) * RMSNorm(y))``, a norm over each head. Bidirectional: a second state with gates of
    its own runs from the end to the start. Both outputs are added; the term of the token itself is their
    mean.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, a divisor of D; None: the one with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        value_expansion: width of values and gate divided by D.
        negative_eigenvalues: beta in (0, 2), so that a write can flip the sign of a stored value.
        conv_size: kernel size of the convolution; None: 4 if causal, else 5, centred and therefore odd; 0: no
            convolution.
        output_gate: activation of the output gate; "none": no gate.
        chunk_size: tokens of a chunk, rounded up to a power of two; it affects speed only.
        eps: added to the mean square of the norm.
        linear: factory of the projections; gates always have full precision.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions are not used; the order is that of the real tokens.

    Raises:
        ValueError: ``num_heads`` does not divide D, or the kernel size of a centred convolution is even.

    Paper: Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule",
    arXiv:2412.06464.
    Differs from the paper: bidirectional unless ``causal``; heads have D / H key channels, where the paper
    has few heads of 256 and 0.75 D key channels in all. ``A_log`` and ``dt_bias`` stay fp32 when the model is
    cast to half precision. The causal block loads the weights of transformers' Qwen3-Next layer with as many
    key heads.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"gated_deltanet_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.gated_deltanet:gated_deltanet"
    role: ClassVar[str] = "gated_deltanet"
    gate_modules: ClassVar[tuple[str, ...]] = ("beta_proj", "decay_proj")
    exact_parameters: ClassVar[tuple[str, ...]] = ("A_log", "dt_bias")

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        value_expansion: Annotated[int, Range(min=1)] = 2,
        negative_eigenvalues: bool = False,
        conv_size: Annotated[int, Range(min=0)] | None = None,
        output_gate: OutputGate = "swish",
        chunk_size: Annotated[int, Range(min=1)] = 32,
        eps: Annotated[float, Range(gt=0)] = 1e-6,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads=num_heads,
            value_expansion=value_expansion,
            negative_eigenvalues=negative_eigenvalues,
            chunk_size=chunk_size,
            causal=causal,
            conv_size=conv_size,
            output_gate=output_gate,
            eps=eps,
            linear=linear,
        )
        heads = self.directions * self.num_heads
        self.decay_proj = nn.Linear(hidden_size, heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections, gates N(0, std^2), A uniform up to 16, dt in [1e-3, 0.1]."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        initialise_decays(self.A_log, self.dt_bias, 0.01)

    def log_decays(self, x: Tensor) -> list[Tensor]:
        """Return ``log a`` ``(..., H)`` of each direction."""
        raw = self.decay_proj(x).to(torch.promote_types(x.dtype, torch.float32))
        decays = -self.A_log.exp() * F.softplus(raw + self.dt_bias)
        return list(decays.chunk(self.directions, -1))
