"""Forgetting attention: softmax attention whose scores decay by learned forget gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory, in_high_precision
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.softmax import KVCache, ScoreTerms, SoftmaxAttention
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, ParamInfo, Range
from ultra_core.plugins.aliases import Alias


class FoxState(NamedTuple):
    """Decoding state.

    Attributes:
        cache: keys and values of the tokens so far.
        decay_sums: ``(B, H, t)``, sums of log f from each token to the last, at least fp32.
    """

    cache: KVCache
    decay_sums: Tensor


class FoxAttention(SoftmaxAttention):
    """Softmax attention with one forget gate per head, bidirectional or causal (Forgetting Transformer).

    Per head, over the keys of the query's own document, with F the cumulative sum over its real tokens::

        f_t = sigmoid(w x_t + b),    F_i = sum_{l <= i} log f_l
        S_ij = q_i k_j / sqrt(d) - |F_i - F_j|,    A = softmax(S),    Y = [A V over heads] W_O

    For j <= i the bias is that of the paper, the sum of log f over ``j+1..i``; in an encoder, later keys
    decay in the same way, over ``i+1..j``. No bias is positive. The gates encode the order, so that no
    position code is needed. Sums of log f are fp64 if the device supports it. Scores are computed by tiles,
    in memory linear in T.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of heads H, each of width ``d = D / H``; None: the divisor of D with heads closest
            to 64 wide.
        causal: tokens attend only to themselves and earlier tokens.
        positions: position code in addition to the gates; "nope" is that of the paper.
        separate_gates: use separate gates for later keys in encoders.
        initial_forget: initial value of f, set by the bias b.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        window: local attention to ``|p_i - p_j| <= window // 2``; causal: to ``0 <= p_i - p_j <= window``.
        softcap: scores become ``softcap * tanh(S / softcap)``, before the decay.
        dropout: dropout probability of the attention weights A in training.
        bias: whether the projections have biases; the gates always do.
        linear: factory of the projections, except that of the gates.

    Shapes:
        x, y ``(B, T, D)``. Parameters: ``qkv_proj.weight`` ``(3D, D)``, ``forget_proj.weight`` ``(H, D)``, or
        ``(2H, D)`` with ``separate_gates``, ``out_proj.weight`` ``(D, D)``. Decoding state: 2 D + H elements
        per token.

    Raises:
        ValueError: ``num_heads`` does not divide D, an option is out of range, ``separate_gates`` in a causal
            block, or the position code is of a kind that attention cannot apply.

    Paper: Lin et al. 2025, "Forgetting Transformer: Softmax Attention with a Forget Gate", arXiv:2503.02130.
    Differs from the paper: the form for encoders is added; b starts at ``logit(initial_forget)`` instead of
    0; there is no output gate, output norm or key shift (its "Pro" block).
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"fox": Alias()}
    reference: ClassVar = "ultra_blocks.reference.fox_attn:fox_attn"
    traits: ClassVar[Traits] = attrs.evolve(SoftmaxAttention.traits, symmetric=False, scaled_scores=False)

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "nope",
        separate_gates: bool = False,
        initial_forget: Annotated[float, Range(gt=0, lt=1)] = 0.99,
        qk_norm: bool = False,
        window: Annotated[int, Range(min=1)] | None = None,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        bias: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        if not 0 < initial_forget < 1:
            raise ValueError(
                f"FoxAttention: initial_forget must be above 0 and below 1; given {initial_forget}"
            )
        if separate_gates and causal:
            raise ValueError(
                "FoxAttention: separate_gates are for what is ahead, which a causal block never sees; "
                "leave it out"
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
        self.initial_forget = float(initial_forget)
        self.directions = 2 if separate_gates else 1
        self.forget_proj = nn.Linear(hidden_size, self.directions * self.num_heads)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights as every block does; the gates start at ``initial_forget``."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if (gates := getattr(self, "forget_proj", None)) is not None:
            gates.bias.fill_(math.log(self.initial_forget / (1 - self.initial_forget)))

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters; gates have no weight decay."""
        gate = ParamInfo(role=self.role, kind="gate", decay=False)
        return {**super().parameter_info(), "forget_proj.weight": gate, "forget_proj.bias": gate}

    def init_state(self, batch: int) -> FoxState:  # type: ignore[override]
        """Return the empty state of ``batch`` rows.

        Raises:
            ValueError: the block is not causal.
        """
        cache = super().init_state(batch)
        wide = torch.promote_types(cache.keys.dtype, torch.float32)
        return FoxState(cache, cache.keys.new_empty(batch, self.num_heads, 0, dtype=wide))

    def step(self, x_t: Tensor, state: FoxState) -> tuple[Tensor, FoxState]:  # type: ignore[override]
        """Return the output ``(B, D)`` at the next token of every row, and the updated state."""
        self.enter_step(x_t, state)
        sums = F.pad(state.decay_sums + self._log_forget(x_t)[..., None], (0, 1))
        if self.window is not None:
            sums = sums[..., -self.window - 1 :]
        y, cache = self._attend_next(x_t, state.cache, sums[:, :, None])
        return self.out_proj(y), FoxState(cache, sums)

    def _log_forget(self, x: Tensor) -> Tensor:
        """Return log f ``(..., H)`` or ``(..., 2H)`` of ``x``, at least fp32, under autocast too."""
        return F.logsigmoid(in_high_precision(self.forget_proj, x))

    def _score_terms(self, x: Tensor, layout: Layout) -> ScoreTerms:
        log_forget = layout.zero_padding(self._log_forget(x))
        # only differences of these long sums matter, so that they need high precision
        exact = torch.float32 if x.device.type == "mps" else torch.float64
        sums = log_forget.to(exact).cumsum(1)
        return ScoreTerms(decay_sums=sums.unflatten(-1, (self.directions, -1)).permute(2, 0, 3, 1))
