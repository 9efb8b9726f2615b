"""Plugins that compute another formula than their reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ultra_blocks.ffn.base import ACTIVATIONS
from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.functional.dispatch import gated_linear
from ultra_blocks.functional.experts import Routing
from ultra_blocks.functional.neural_memory import MemoryGates
from ultra_blocks.functional.ssd import Scan
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.bigbird_attn import BigBirdAttention
from ultra_blocks.mixers.fox_attn import FoxAttention
from ultra_blocks.mixers.gated_deltanet import GatedDeltaNet
from ultra_blocks.mixers.gated_softmax_attn import GatedSoftmaxAttention
from ultra_blocks.mixers.gla import GLA
from ultra_blocks.mixers.gqa_attn import GQAAttention
from ultra_blocks.mixers.hgrn2 import HGRN2
from ultra_blocks.mixers.kda import KDA
from ultra_blocks.mixers.latent_attn import LatentAttention
from ultra_blocks.mixers.linear_recurrence import Gates
from ultra_blocks.mixers.longformer_attn import LongformerAttention
from ultra_blocks.mixers.mamba import Mamba
from ultra_blocks.mixers.nsa_attn import NativeSparseAttention
from ultra_blocks.mixers.ode import ODE
from ultra_blocks.mixers.retnet import RetNet
from ultra_blocks.mixers.sigmoid_attn import SigmoidAttention
from ultra_blocks.mixers.softmax import ScoreTerms
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.mixers.titan.memory import TitanMemory
from ultra_blocks.mixers.titan_attn import TitanAttention
from ultra_blocks.norms.derf import Derf
from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import real_positions
from ultra_blocks.positions.alibi import ALiBi
from ultra_blocks.positions.hope import HoPE
from ultra_blocks.positions.rope import RoPE
from ultra_blocks.positions.sinusoidal import Sinusoidal


class DividesByTheWidth(StandardAttention):
    """Scores are divided by d instead of sqrt(d)."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x)
        return q * self.head_dim**-0.5, k, v


class SwapsQueriesAndKeys(StandardAttention):
    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x)
        return k, q, v


class SharesTheGainOfQueries(StandardAttention):
    """With ``qk_norm``, keys get the gain of the queries."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x)
        return q, (k if self.k_norm is None else k / self.k_norm.weight * self.q_norm.weight), v


class InterleavesTheGroups(GQAAttention):
    """Query head h reads key head ``h mod G`` instead of ``floor(h G / H)``."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x)
        order = torch.arange(self.num_heads).view(-1, self.num_kv_heads).T.flatten()
        return q[:, order], k, v


class GatesBySwish(GatedSoftmaxAttention):
    def _gated(self, y: Tensor, x: Tensor) -> Tensor:
        gates = F.silu(self.gate_proj(x))
        if self.gate == "head":
            gates = gates.repeat_interleave(self.head_dim, -1)
        return y * gates


class ForgetsByTheBinaryLogarithm(FoxAttention):
    """The sums are of ``log2 f`` instead of ``log f``."""

    def _log_forget(self, x: Tensor) -> Tensor:
        return super()._log_forget(x) / math.log(2)


class CountsOneKeyTooMany(SigmoidAttention):
    """The bias is ``-log(n + 1)``."""

    def _score_terms(self, x: Tensor, layout: Layout) -> ScoreTerms:
        (bias, *_) = super()._score_terms(x, layout)
        assert bias is not None
        return ScoreTerms(query_bias=-(torch.exp(-bias) + 1).log())


class ScalesByOnePart(LatentAttention):
    """Scores are divided by sqrt(d_n), without d_r."""

    def _project(self, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        q_own, q_rotated, *rest = super()._project(x, layout)
        wider = math.sqrt(1 + self.rope_dim / self.head_dim)
        return q_own * wider, q_rotated * wider, *rest


class DecaysOneHeadLater(RetNet):
    """``gamma_h = 1 - 2^{-6-h}``: h counts from 1."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        self.log_gammas = tuple(math.log1p((math.exp(log) - 1) / 2) for log in self.log_gammas)


class DecaysWhatItWrites(GLA):
    """``S_t = diag(a_t) (S_{t-1} + k_t^T v_t)``: the decay is off by one."""

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Sequence[Gates], documents: Tensor | None
    ) -> Tensor:
        decays = [log_decay for (log_decay,) in gates]
        keys = [k * decay.exp() for decay in decays]
        return gated_linear(q, keys, v, decays, chunk_size=self.chunk_size, documents=documents)

    def recur(self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, memory: Tensor) -> tuple[Tensor, Tensor]:
        return super().recur(q, k * gates[0].exp(), v, gates, memory)


class NormsAllHeadsTogether(GatedDeltaNet):
    def _read_out(self, y: Tensor, gate: Tensor) -> Tensor:
        rms = y.square().mean((-2, -1), keepdim=True).sqrt()
        return super()._read_out(y, gate) if self.output_gate != "swish" else self._gated(y / rms, gate)

    def _gated(self, y: Tensor, gate: Tensor) -> Tensor:
        y = (y * self.norm.weight).flatten(-2).to(gate.dtype)
        return self.out_proj(y * F.silu(gate))


class WritesWhatItKeeps(HGRN2):
    """Keys are f instead of ``1 - f``."""

    def _forget(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_f, _ = super()._forget(raw)
        return log_f, log_f.exp()


class DecaysByOneStepSize(KDA):
    """``softplus`` is applied before ``dt_bias`` is added."""

    def log_decays(self, x: Tensor) -> list[Tensor]:
        steps = F.softplus(self.decay_up(self.decay_down(x))) + F.softplus(self.dt_bias)
        steps = steps.unflatten(-1, (-1, self.key_dim))
        return list((-self.A_log.exp()[:, None] * steps).chunk(self.directions, -2))


class WritesWithoutItsStep(Mamba):
    """``S_t = exp(dt A) S_{t-1} + x_t^T B_t``, without dt."""

    def _scans(self, u: Tensor, raw: Tensor) -> tuple[Tensor, list[Scan], Tensor]:
        channels, scans, own = super()._scans(u, raw)
        return channels, [scan._replace(log_step=torch.zeros_like(scan.log_step)) for scan in scans], own


class CountsAStepTooMany(ODE):
    """The step size is ``1 / (steps + 1)``, and the stream ends at 1 all the same."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        self.steps += 1


class OvershootingMemory(TitanMemory):
    def gates(self, x: Tensor) -> list[MemoryGates]:
        return [gate._replace(step=gate.step / (1 - gate.log_momentum.exp())) for gate in super().gates(x)]


class LearnsInTooLargeSteps(TitanAttention):
    """``theta`` lacks the factor ``1 - eta``."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        if type(memory := getattr(self, "memory", None)) is TitanMemory:
            memory.__class__ = OvershootingMemory


class SwapsTheGatesOfItsBranches(NativeSparseAttention):
    def _gated(self, x: Tensor, branches: tuple[Tensor, ...]) -> Tensor:
        return super()._gated(x, branches[::-1])


class HasAWiderWindow(LongformerAttention):
    """The window is wider by two tokens; default options do not show it."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        self.window += 2


class LacksALink(BigBirdAttention):
    """There is one random link too few; default options do not show it."""

    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        super().reset_parameters(std=std, residual_scale=residual_scale)
        self.random_blocks = max(0, self.random_blocks - 1)


class ActivatesTheOtherHalf(GLU):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        up, gate = self.gate_up(self.enter(x, layout)).chunk(2, -1)
        return self.leave(self.down(self.dropout(ACTIVATIONS[self.activation](gate) * up)), layout)


class ApproximatesTheGelu(MLP):
    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        name = "gelu_tanh" if self.activation == "gelu" else self.activation
        inner = ACTIVATIONS[name](self.up(self.enter(x, layout)))
        return self.leave(self.down(self.dropout(inner)), layout)


class KeepsTheGatesAsTheyAre(MoE):
    """The weights of the chosen experts are not divided by their sum."""

    def route(self, tokens: Tensor) -> Routing:
        self.renormalise = False
        return super().route(tokens)


class BalancesWithoutTheNumberOfExperts(MoE):
    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        losses = super()._losses(routing)
        return {**losses, "moe_balance": losses["moe_balance"] / self.num_experts}


class SquaresNothing(MoE):
    """The z loss is the mean of the logsumexp, not of its square."""

    def _losses(self, routing: Routing) -> dict[str, Tensor]:
        z = self.z_weight * routing.logits.logsumexp(-1).sum() / max(len(routing.logits), 1)
        return {**super()._losses(routing), "moe_z": z}


class AddsEpsOutsideTheRoot(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        rms = (x.square().mean(-1, keepdim=True) + 1e-30).sqrt()
        return self.weight * x / (rms + self.eps)


class DividesByOneLess(LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        y = centred / (x.var(-1, keepdim=True) + self.eps).sqrt() * self.weight
        return y if self.bias is None else y + self.bias


class ShiftsAfterTheSlope(Derf):
    """``erf(alpha (x + shift))``."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.erf(self.alpha * (x + self.shift)) + self.bias


class SpacesItsFrequenciesByTheLast(RoPE):
    """``theta_j = base^{-j / (d/2 - 1)}``, which reaches 1 / base."""

    def _tables(self, layout: Layout, wide: torch.dtype) -> tuple[Tensor, Tensor]:
        exponents = torch.linspace(0, 1, self.head_dim // 2, dtype=torch.float64)
        angles = real_positions(layout)[..., None] * (self.base**-exponents / self.scaling)
        cos, sin = angles[:, None].cos().to(wide), angles[:, None].sin().to(wide)
        return cos.unsqueeze(self._pair_dim), torch.stack((-sin, sin), self._pair_dim)


class TurnsQueriesTwice(RoPE):
    def rotate(self, q: Tensor, k: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        q, k = super().rotate(q, k, layout)
        return super().rotate(q, k, layout)


class StartsItsSlopesAtOne(ALiBi):
    """``s_h = 2^{-8 (h - 1) / H}``."""

    def _bias(self, layout: Layout, dtype: torch.dtype) -> Tensor:
        return super()._bias(layout, dtype) * 2 ** (8 / self.num_heads)


class DampsByHalfOfItsMargin(HoPE):
    @property
    def rates(self) -> tuple[float, ...]:
        half, whole = self.head_dim // 2, super().rates
        excess = [self.margin / 2 * self.base ** (-j / half) for j in range(half)]
        return tuple(rate - less for rate, less in zip(whole, 2 * excess, strict=True))


class SpacesItsWavesByTheLast(Sinusoidal):
    """``w_j = base^{-j / (D/2 - 1)}``, as in tensor2tensor."""

    def embed(self, layout: Layout) -> Tensor:
        rates = self.base ** -torch.linspace(0, 1, self.hidden_size // 2)
        angles = layout.positions[..., None] * rates
        return torch.cat((angles.sin(), angles.cos()), -1) * self.scale


CAUSAL = {"causal": True}

MUTANTS: list[tuple[Any, ...]] = [
    ("B30", DividesByTheWidth),
    ("B30", SwapsQueriesAndKeys),
    ("B30", SharesTheGainOfQueries),
    ("B30", InterleavesTheGroups, {"options": {"num_heads": 4, "num_kv_heads": 2}}),
    ("B30", GatesBySwish),
    ("B30", ForgetsByTheBinaryLogarithm),
    ("B30", CountsOneKeyTooMany),
    ("B30", ScalesByOnePart),
    ("B30", DecaysOneHeadLater),
    ("B30", DecaysOneHeadLater, CAUSAL),
    ("B30", DecaysWhatItWrites),
    ("B30", DecaysWhatItWrites, CAUSAL),
    ("B30", NormsAllHeadsTogether),
    ("B30", WritesWhatItKeeps),
    ("B30", DecaysByOneStepSize),
    ("B30", WritesWithoutItsStep),
    ("B30", CountsAStepTooMany),
    ("B30", LearnsInTooLargeSteps),
    ("B30", SwapsTheGatesOfItsBranches),
    ("B30", HasAWiderWindow),
    ("B30", LacksALink),
    ("F4", ActivatesTheOtherHalf),
    ("F4", ApproximatesTheGelu),
    ("F4", KeepsTheGatesAsTheyAre),
    ("F4", BalancesWithoutTheNumberOfExperts),
    ("F4", SquaresNothing),
    ("N5", AddsEpsOutsideTheRoot),
    ("N5", DividesByOneLess),
    ("N5", ShiftsAfterTheSlope),
    ("P6", SpacesItsFrequenciesByTheLast),
    ("P6", TurnsQueriesTwice),
    ("P6", StartsItsSlopesAtOne),
    ("P6", DampsByHalfOfItsMargin),
    ("P6", SpacesItsWavesByTheLast),
]
