"""Softmax attention with a sigmoid output gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.softmax import KVCache, SoftmaxAttention
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, ParamInfo, Range
from ultra_core.plugins.aliases import Alias

Gate = Literal["element", "head"]


class GatedSoftmaxAttention(SoftmaxAttention):
    """Softmax attention whose output is gated by the query token.

    Per head, over the keys of the query's own document::

        S = Q K^T / sqrt(d) + bias,   A = softmax(S),   Y = [A V * sigmoid(x W_g) over heads] W_O

    The gate allows a head to output nothing, so that no token has to serve as an attention sink, and makes
    the map from V to Y nonlinear.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        positions: position code; without one an encoder does not know the order of its tokens.
        gate: "element": one gate per channel; "head": one gate per head.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks and biases.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections have biases; the gate has none.
        linear: factory of the projections, except that of the gate.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``gate_proj.weight`` ``(D, D)`` or
        ``(H, D)``, ``out_proj.weight`` ``(D, D)``. Decoding state: 2 D elements per token.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, or the position code is of a
            kind that attention cannot apply.

    Paper: Qiu et al. 2025, "Gated Attention for Large Language Models", arXiv:2505.06708.
    Differs from the paper: nothing; of its positions for a gate this is the one after the attention (G1).
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"gated_softmax": Alias()}
    reference: ClassVar = "ultra_blocks.reference.gated_softmax_attn:gated_softmax_attn"

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        gate: Gate = "element",
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        if gate not in ("element", "head"):
            raise ValueError(f"GatedSoftmaxAttention: gate must be 'element' or 'head'; given {gate!r}")
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
        self.gate: Gate = gate
        self.gate_proj = nn.Linear(
            hidden_size, hidden_size if gate == "element" else self.num_heads, bias=False
        )
        self.reset_parameters()

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters; the gate has no weight decay."""
        gate = ParamInfo(role=self.role, kind="gate", decay=False)
        return {**super().parameter_info(), "gate_proj.weight": gate}

    def _attend(self, x: Tensor, layout: Layout) -> Tensor:
        return self._gated(super()._attend(x, layout), x)

    def _attend_next(
        self, x_t: Tensor, state: KVCache, added: Tensor | None = None
    ) -> tuple[Tensor, KVCache]:
        y, state = super()._attend_next(x_t, state, added)
        return self._gated(y, x_t), state

    def _gated(self, y: Tensor, x: Tensor) -> Tensor:
        """Return ``y`` ``(..., D)`` times the gates of ``x`` ``(..., D)``."""
        gates = self.gate_proj(x).sigmoid()
        if self.gate == "head":
            return (y.unflatten(-1, (self.num_heads, -1)) * gates[..., None]).flatten(-2)
        return y * gates
