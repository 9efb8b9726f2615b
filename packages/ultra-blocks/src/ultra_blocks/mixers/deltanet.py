"""DeltaNet: a state that is corrected where it predicts a value wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import nn

from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.delta_rule import DeltaRule
from ultra_blocks.mixers.linear_recurrence import OutputGate
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias


class DeltaNet(DeltaRule):
    """Delta rule, bidirectional or causal, in time linear in the length.

    The state of a head is a matrix that learns to give ``v_t`` for ``k_t``; a token changes it by its error:

    ``S_t = S_{t-1} + beta_t k_t^T (v_t - k_t S_{t-1}) = (I - beta_t k_t^T k_t) S_{t-1} + beta_t k_t^T v_t``,

    ``y_t = d_k^{-1/2} q_t S_t``, ``beta_t = sigmoid(W_b x_t)``; q, k, v come from a projection, a short
    convolution and SiLU, then q and k are divided by their lengths. ``out = W_O (swish(g) * RMSNorm(y))``,
    the norm over each head. Bidirectional: a second state runs from the end to the start with a beta of its
    own; both are added, of itself a token reads the mean.

    Args:
        hidden_size: width D of the stream.
        num_heads: heads H; D must be a multiple.
        causal: read the past alone; then ``init_state`` and ``step`` decode token by token.
        value_expansion: width of values and gate over D.
        negative_eigenvalues: beta in (0, 2): a write can turn the sign of what stood there, which state
            tracking needs.
        conv_size: tokens the convolution sees; None: 4 if causal, else 5, centred and therefore odd; 0: none.
        output_gate: activation of the output gate; "none": no gate.
        chunk_size: tokens that are multiplied with each other directly, rounded up to a power of two; changes
            speed, not the result.
        eps: added to the mean square of the norm.
        linear: makes the projections; gates are always full precision.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions are not used: neighbours are neighbouring real tokens.

    Raises:
        ValueError: ``hidden_size`` does not divide into heads, or the centred convolution is even.

    Papers: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    arXiv:2406.06484; Grazzi et al. 2024, "Unlocking State-Tracking in Linear RNNs Through Negative
    Eigenvalues", arXiv:2411.12537.
    Differs from the papers: bidirectional unless ``causal``; an output gate unless ``output_gate`` is "none".
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"deltanet_attn": Alias()}
    role: ClassVar[str] = "deltanet"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int, FromModel("num_heads"), Range(min=1)] = 4,
        causal: bool = False,
        value_expansion: Annotated[int, Range(min=1)] = 1,
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
        self.reset_parameters()
