"""Kimi delta attention: the delta rule on a state with a decay per key channel."""

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
from ultra_core.plugins.signatures import require


class KDA(DeltaRule):
    """Kimi delta attention, bidirectional or causal, in time linear in the length.

    The state of a head learns to map ``k_t`` to ``v_t``, after a separate decay of each of its d_k rows:

    ``S' = diag(a_t) S_{t-1}``, ``S_t = S' + beta_t k_t^T (v_t - k_t S')``, ``y_t = d_k^{-1/2} q_t S_t``,
    ``log a_t = -exp(A_log) softplus(W_2 W_1 x_t + dt_bias)``, ``beta_t = sigmoid(W_b x_t)``;

    q, k, v come from a projection, a short convolution and SiLU, then q and k are divided by their norms.
    ``out = W_O (sigmoid(g) * RMSNorm(y))``, a norm over each head. Bidirectional: a second state with gates
    of its own (W_1 is shared) runs from the end to the start. Both outputs are added; the term of the token
    itself is their mean.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, a divisor of D; None: the one with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        value_expansion: width of values and gate divided by D.
        decay_rank: width between W_1 and W_2; None: D / H.
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

    Paper: Kimi Team 2025, "Kimi Linear: An Expressive, Efficient Attention Architecture", arXiv:2510.26692.
    Differs from the paper: bidirectional unless ``causal``; the output gate is one matrix, not the product of
    two. ``A_log`` and ``dt_bias`` stay fp32 when the model is cast to half precision. Where the two
    directions nearly cancel, as they can among equal tokens, the norm of a head amplifies rounding errors:
    with ``negative_eigenvalues``, bf16 inputs and weights alone moved the exact output of such a row by 27 %.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"kda_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.kda:kda"
    role: ClassVar[str] = "kda"
    gate_modules: ClassVar[tuple[str, ...]] = ("beta_proj", "decay_down", "decay_up")
    exact_parameters: ClassVar[tuple[str, ...]] = ("A_log", "dt_bias")

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        value_expansion: Annotated[int, Range(min=1)] = 1,
        decay_rank: Annotated[int, Range(min=1)] | None = None,
        negative_eigenvalues: bool = False,
        conv_size: Annotated[int, Range(min=0)] | None = None,
        output_gate: OutputGate = "sigmoid",
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
        require(KDA, decay_rank=decay_rank)
        rank = self.key_dim if decay_rank is None else decay_rank
        self.decay_down = nn.Linear(hidden_size, rank, bias=False)
        self.decay_up = nn.Linear(rank, self.directions * hidden_size, bias=False)
        self.A_log = nn.Parameter(torch.empty(self.directions * self.num_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.directions * hidden_size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections, gates N(0, std^2), A uniform in [1, 16], dt in [1e-3, 0.1]."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        initialise_decays(self.A_log, self.dt_bias, 1.0)

    def log_decays(self, x: Tensor) -> list[Tensor]:
        """Return ``log a`` ``(..., H, d_k)`` of each direction."""
        raw = self.decay_up(self.decay_down(x)).to(torch.promote_types(x.dtype, torch.float32))
        steps = F.softplus(raw + self.dt_bias).unflatten(-1, (-1, self.key_dim))
        return list((-self.A_log.exp()[:, None] * steps).chunk(self.directions, -2))
