"""Mamba-2: state space duality, bidirectional as in Hydra."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultra_blocks.conv import DepthwiseConv, convolve, convolve_step
from ultra_blocks.functional.dispatch import ssd
from ultra_blocks.functional.ssd import Scan, log_softplus
from ultra_blocks.linear import LinearFactory, fused_linear
from ultra_blocks.mixers.base import Traits
from ultra_blocks.mixers.contiguous import ContiguousMixer
from ultra_core.contracts import FromModel, ParamInfo, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class MambaState(NamedTuple):
    """Decoding state of a causal block, at least fp32.

    Attributes:
        memory: ``(B, H, n, P)``, recurrent state.
        window: ``(B, K - 1, E)``, last inputs of the convolution.
    """

    memory: Tensor
    window: Tensor


class Mamba(ContiguousMixer):
    """Mamba-2, bidirectional as in Hydra or causal, in time linear in the length.

    Each head has a state whose decay, input and readout depend on the token (a selective state space):

    ``z, u, dt = W_in x``; ``x', B, C = silu(conv(u))`` (short, depthwise); ``dt = softplus(dt + dt_bias)``;
    ``A = -exp(A_log)``, one scalar per head. A scan is ``S_t = exp(dt_t A) S_{t-1} + dt_t x'_t^T B_t``,
    ``SSD(x')_t = S_t C_t``. Then

    * bidirectional "hydra": ``y = shift(SSD_f(x')) + rev(shift(SSD_b(rev x'))) + (W_D x' + D) x'``, where
      each direction has its own B, C and dt. The shift by one token leaves the term of the token itself to
      the last part;
    * bidirectional "sum": ``y = SSD_f(x') + rev(SSD_b(rev x')) - own + D x'`` with shared B and C and
      separate dt. ``own`` is the term of the token itself, which thus counts once, with the mean dt;
    * causal: ``y = SSD(x') + D x'``, which can load the weights of the Mamba2 mixer of transformers;

    and ``out = W_out norm(y silu(z))`` or ``W_out (norm(y) silu(z))``, with an RMS norm over each group.

    Args:
        hidden_size: width D of the residual stream.
        causal: process the past only; ``init_state`` and ``step`` then decode token by token.
        bidirectional_form: combination of the directions if not causal.
        state_size: number of rows n of the state of a head.
        expand: width of x' divided by D.
        head_size: P, a divisor of ``expand * hidden_size``; None: its largest divisor up to 64.
        num_groups: number of groups G of heads that share B and C, a divisor of the number of heads.
        conv_kernel: kernel size of the convolution; None: 4 if causal, else 7, centred and therefore odd.
        chunk_size: tokens of a chunk; it affects speed only.
        decay_init: initial -A of the heads: "range" 1..H, "uniform" in [1, 16], "ones"; None: "ones" for
            hydra, else "range".
        dt_min: lower end of the log-uniform distribution of initial dt.
        dt_max: upper end of that distribution.
        dt_floor: minimum of initial dt.
        dt_limit: interval to which dt is clamped; null as its end: no upper limit.
        norm_before_gate: ``norm(y) silu(z)`` instead of ``norm(y silu(z))``; None: true for hydra only.
        eps: added to the mean square of the norm.
        linear: factory of the input and output projections.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``. Positions are not used; the order is that of the real tokens.

    Raises:
        ValueError: widths do not divide, a centred kernel size is even, or an interval is reversed.

    Papers: Dao, Gu 2024, "Transformers are SSMs", arXiv:2405.21060; Hwang et al. 2024, "Hydra: Bidirectional
    State Space Models", arXiv:2407.09941.
    Differs from the papers: ``state_size`` is 64 (128 in Mamba-2); the "sum" form is added; the bias of the
    convolution starts at 0. ``A_log``, ``D``, ``dt_bias`` stay fp32 when the model is cast to half precision.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"mamba_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.mamba:mamba"
    role: ClassVar[str] = "mamba"
    exact_parameters: ClassVar[tuple[str, ...]] = ("A_log", "D", "dt_bias")
    traits: ClassVar[Traits] = Traits(
        recurrent_step=True, linear_time=True, speed_only=frozenset({"chunk_size"})
    )
    variations: ClassVar[Mapping[str, Any]] = {"num_groups": {"head_size": 8}, "decay_init": {"head_size": 8}}

    def __init__(
        self,
        hidden_size: int,
        *,
        causal: bool = False,
        bidirectional_form: Literal["hydra", "sum"] = "hydra",
        state_size: Annotated[int, Range(min=1)] = 64,
        expand: Annotated[int, Range(min=1)] = 2,
        head_size: Annotated[int, Range(min=1)] | None = None,
        num_groups: Annotated[int, Range(min=1)] = 1,
        conv_kernel: Annotated[int, Range(min=1)] | None = None,
        chunk_size: Annotated[int, Range(min=1)] = 64,
        decay_init: Literal["range", "uniform", "ones"] | None = None,
        dt_min: Annotated[float, Range(gt=0)] = 1e-3,
        dt_max: Annotated[float, Range(gt=0)] = 1e-1,
        dt_floor: Annotated[float, Range(gt=0)] = 1e-4,
        dt_limit: tuple[float, float | None] = (0.0, None),
        norm_before_gate: bool | None = None,
        eps: Annotated[float, Range(gt=0)] = 1e-5,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        sizes = {"state_size": state_size, "expand": expand, "head_size": head_size, "chunk_size": chunk_size}
        steps = {"dt_min": dt_min, "dt_max": dt_max, "dt_floor": dt_floor, "eps": eps}
        forms = {"bidirectional_form": bidirectional_form, "decay_init": decay_init}
        require(Mamba, **sizes, **steps, **forms, num_groups=num_groups, conv_kernel=conv_kernel)
        inner = expand * hidden_size
        if head_size is None:
            head_size = max(p for p in range(1, min(64, inner) + 1) if inner % p == 0)
        self.num_heads, rest = divmod(inner, head_size)
        if rest or self.num_heads % num_groups:
            raise ValueError(
                f"Mamba: {expand} x hidden_size {hidden_size} = {inner} channels do not fall into heads of "
                f"{head_size} and these into {num_groups} groups; change head_size or num_groups"
            )
        kernel = (4 if causal else 7) if conv_kernel is None else conv_kernel
        if not causal and kernel % 2 == 0:
            raise ValueError(
                f"Mamba: conv_kernel {kernel} has no middle; a bidirectional block needs an odd one"
            )
        limits = (dt_limit[0], math.inf if dt_limit[1] is None else dt_limit[1])
        for name, (low, high) in {"dt_min, dt_max": (dt_min, dt_max), "dt_limit": limits}.items():
            if not 0 <= low <= high:
                raise ValueError(f"Mamba: {name} is ({low:g}, {high:g}); 0 <= first <= second is needed")
        self.form = "causal" if causal else bidirectional_form
        self.head_size, self.state_size, self.num_groups = head_size, state_size, num_groups
        self.chunk_size, self.dt_limit, self.dt_init = chunk_size, limits, (dt_min, dt_max, dt_floor)
        hydra = self.form == "hydra"
        self.decay_init = decay_init or ("ones" if hydra else "range")
        self.norm_before_gate = hydra if norm_before_gate is None else norm_before_gate
        # gate; inputs of the convolution: x', then B and C (of both directions); dt (of both directions)
        self.conv_widths = (inner,) + (4 if hydra else 2) * (num_groups * state_size,)
        self.dt_widths = (1 if causal else 2) * (self.num_heads,)
        self.in_proj = fused_linear(linear, hidden_size, (inner, *self.conv_widths, *self.dt_widths))
        conv_width = sum(self.conv_widths)
        self.kernel = kernel
        self.conv1d = DepthwiseConv(conv_width, kernel, causal=causal, bias=True)
        self.A_log = nn.Parameter(torch.empty(self.num_heads))
        self.D = nn.Parameter(torch.empty(self.num_heads))
        self.dt_bias = nn.Parameter(torch.empty(self.num_heads))
        self.own_proj = nn.Linear(inner, self.num_heads, bias=False) if hydra else None
        self.norm = nn.RMSNorm(inner, eps=eps)
        self.out_proj = linear(inner, hidden_size, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights: projections N(0, std^2), the convolution as ``nn.Conv1d``, D = 1."""
        super().reset_parameters(std=std, residual_scale=residual_scale)
        nn.init.zeros_(self.conv1d.get_parameter("bias"))
        nn.init.ones_(self.D)
        if self.decay_init == "uniform":
            self.A_log.uniform_(1, 16).log_()
        else:
            last = self.num_heads if self.decay_init == "range" else 1
            self.A_log.copy_(torch.linspace(1, last, self.num_heads).log())
        low, high, floor = self.dt_init
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(low), math.log(high)).exp().clamp(min=floor)
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def row_blocks(self) -> dict[str, tuple[int, ...]]:
        """Return the heights of the matrices stacked in ``in_proj``: gate, x', B and C, dt."""
        return {"in_proj.weight": (self.conv_widths[0], *self.conv_widths, *self.dt_widths)}

    def parameter_info(self) -> dict[str, ParamInfo]:
        """Describe the parameters; decays and step sizes are gates without weight decay."""
        info = super().parameter_info()
        info.update(
            {name: ParamInfo(role=self.role, kind="gate", decay=False) for name in self.exact_parameters}
        )
        info["conv1d.weight"] = ParamInfo(role=self.role, kind="conv")
        info["norm.weight"] = ParamInfo(role="norms", kind="vector")
        return info

    def mix_rows(self, x: Tensor, real: Tensor | None, documents: Tensor | None) -> Tensor:
        """Mix the tokens of each document; see :meth:`ContiguousMixer.mix_rows`."""
        z, u, dt = self._project(x)
        u = F.silu(convolve(self.conv1d, u, documents, kernel=self.kernel))
        if real is not None:
            u = torch.where(real[..., None], u, 0.0)  # the bias makes padding nonzero
        channels, scans, own = self._scans(u, dt)
        y = ssd(
            channels,
            *scans,
            shifted=self.form == "hydra",
            chunk_size=self.chunk_size,
            documents=documents,
        )
        return self._read_out(y + own[..., None] * channels, z)

    def init_state(self, batch: int) -> MambaState:
        """Return the initial state of ``batch`` rows."""
        self.require_causal()
        weight = self.norm.weight
        empty = weight.new_zeros(batch, dtype=_exact(weight))
        return MambaState(
            empty[:, None, None, None].repeat(1, self.num_heads, self.state_size, self.head_size),
            empty[:, None, None].repeat(1, self.kernel - 1, sum(self.conv_widths)),
        )

    def step(self, x_t: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """Return the output ``(B, D)`` at the next token ``x_t`` ``(B, D)``, and the state after it."""
        self.enter_step(x_t, state)
        memory, window = state
        z, u, dt = self._project(x_t)
        u, window = convolve_step(self.conv1d, u, window)
        channels, (scan,), own = self._scans(F.silu(u)[:, None], dt[:, None])
        repeats = self.num_heads // self.num_groups
        read, write = (
            y[:, 0].repeat_interleave(repeats, 1).to(memory.dtype) for y in (scan.read, scan.write)
        )
        now = channels[:, 0].to(memory.dtype)
        before = scan.log_decay[:, 0, :, None, None].exp() * memory
        y = (read[..., None] * before).sum(-2) + own[:, 0, :, None] * now
        added = scan.log_step[:, 0, :, None, None].exp() * write[..., None] * now[..., None, :]
        return self._read_out(y[:, None], z[:, None]).squeeze(1), MambaState(before + added, window)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gate, the input of the convolution, and dt before softplus."""
        widths = (self.conv_widths[0], sum(self.conv_widths), sum(self.dt_widths))
        z, u, dt = self.in_proj(x).split(widths, -1)
        return z, u, dt

    def _scans(self, u: Tensor, raw: Tensor) -> tuple[Tensor, list[Scan], Tensor]:
        """Return ``x'`` ``(B, T, H, P)``, the scan of each direction, and the skip factor ``(B, T, H)``."""
        channels, *sets = u.split(self.conv_widths, -1)
        sets = [y.unflatten(-1, (self.num_groups, -1)) for y in sets]
        raws = [y.to(_exact(u)) + self.dt_bias for y in raw.split(self.dt_widths, -1)]
        low, high = self.dt_limit
        steps = [F.softplus(y).clamp(low, high) for y in raws]
        log_steps = [log_softplus(y).clamp(math.log(low) if low else -math.inf, math.log(high)) for y in raws]
        A = -self.A_log.exp()
        scans = []
        for i, (step, log_step) in enumerate(zip(steps, log_steps, strict=True)):
            write, read = sets[2 * i : 2 * i + 2] if self.form == "hydra" else sets
            scans.append(Scan(read, write, step * A, log_step))
        if self.own_proj is not None:
            own = self.own_proj(channels)
        else:
            match = (scans[0].read * scans[0].write).sum(-1, dtype=_exact(u))
            own = match.repeat_interleave(self.num_heads // self.num_groups, -1) * sum(steps) / len(steps)
        return channels.unflatten(-1, (self.num_heads, -1)), scans, own + self.D

    def _read_out(self, y: Tensor, z: Tensor) -> Tensor:
        """Apply the gate, the norm of each group and the output projection."""
        y, gate = y.flatten(-2), F.silu(z)
        if not self.norm_before_gate:
            y = y * gate
        groups = y.unflatten(-1, (self.num_groups, -1))
        y = F.rms_norm(groups, groups.shape[-1:], eps=self.norm.eps).flatten(-2) * self.norm.weight
        if self.norm_before_gate:
            y = y * gate
        return self.out_proj(y.to(z.dtype))


def _exact(x: Tensor) -> torch.dtype:
    """Return the dtype of states and decays, at least fp32."""
    return torch.promote_types(x.dtype, torch.float32)
