"""DeltaNet: linear attention whose state is updated by the delta rule."""

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

    The state of a head is a matrix that learns to map ``k_t`` to ``v_t``; each token corrects its error:

    ``S_t = S_{t-1} + beta_t k_t^T (v_t - k_t S_{t-1}) = (I - beta_t k_t^T k_t) S_{t-1} + beta_t k_t^T v_t``,

    ``y_t = d_k^{-1/2} q_t S_t``, ``beta_t = sigmoid(W_b x_t)``; q, k, v come from a projection, a short
    convolution and SiLU, after which q and k are divided by their norms. ``out = W_O (swish(g) *
    RMSNorm(y))``, with a norm over each head. Bidirectional: a second state with a beta of its own runs from
    the end to the start. Both outputs are added; the term of the token itself is their mean.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, a divisor of D; None: the one with heads closest to 128 wide.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        value_expansion: width of values and gate divided by D.
        negative_eigenvalues: beta in (0, 2), so that a write can flip the sign of a stored value, which state
            tracking requires.
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

    Papers: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    arXiv:2406.06484; Grazzi et al. 2024, "Unlocking State-Tracking in Linear RNNs Through Negative
    Eigenvalues", arXiv:2411.12537.
    Differs from the papers: bidirectional unless ``causal``; an output gate unless ``output_gate`` is "none".
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"deltanet_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.deltanet:deltanet"
    role: ClassVar[str] = "deltanet"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
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
