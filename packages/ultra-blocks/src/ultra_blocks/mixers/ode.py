"""Attention as the right-hand side of an ordinary differential equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from ultra_blocks.functional.ode_solvers import TABLEAUS, Solver, integrate
from ultra_blocks.layout import Layout
from ultra_blocks.linear import LinearFactory
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.softmax import check_options
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.positions import PositionSpec
from ultra_core.contracts import FromModel, Range
from ultra_core.plugins.aliases import Alias
from ultra_core.plugins.signatures import require


class _Derivative(StandardAttention):
    role = "ode"


class ODE(Mixer):
    """Attention integrated over depth: the branch is the change of the residual stream in unit time.

    ::

        dz/ds = f(z) = m * Attn(norm(z)),   z(0) = x,   y = z(1) - z(0)

    with one set of weights for all evaluations of f, and ``steps`` equal steps of an explicit method. The
    input is the residual stream without a norm, since the equation describes the stream; the norm of the
    model is inside f. The dropout mask m is sampled once per solve, so that all evaluations are of the same
    f. One step of ``euler`` is the usual pre-norm attention branch. A solve costs ``steps`` times 1 (euler),
    2 (midpoint, heun) or 4 (rk4) attentions, in time and, unless ``checkpoint`` is set, in memory.

    Args:
        hidden_size: width D of the residual stream.
        num_heads: number of attention heads; None: the divisor of D with heads closest to 64 wide.
        causal: tokens attend only to themselves and earlier tokens. There is no decoding token by token,
            which would need the keys and values of every evaluation.
        positions: position code of the attention.
        qk_norm: RMS norm with gain of each query and key over d, before the position code.
        softcap: scores become ``softcap * tanh(S / softcap)``, before masks and biases.
        solver: ``rk4``, ``euler``, ``midpoint`` or ``heun``.
        steps: number of steps from s = 0 to 1.
        dropout: probability that a channel of a token stays constant during a solve in training.
        checkpoint: recompute each evaluation in the backward pass instead of saving its activations.
        linear: factory of the projections.
        norm: factory of the norm, called with D.

    Shapes:
        x, y ``(B, T, D)``; y is exactly zero at padding. Parameters: ``attention.qkv_proj.weight (3D, D)``,
        ``attention.out_proj.weight (D, D)`` and those of the norm.

    Raises:
        ValueError: the solver is unknown, an option is out of range, ``num_heads`` does not divide D, or the
            position code is of a kind that attention cannot apply.

    Paper: Chen et al. 2018, "Neural Ordinary Differential Equations", arXiv:1806.07366; with attention: Li et
    al. 2022, "ODE Transformer", arXiv:2203.09176.
    Differs from the paper: gradients are those of the discrete steps, not of an adjoint equation; f is
    attention without the FFN; the initial output projection is divided by the number of evaluations per step.
    """

    aliases: ClassVar[Mapping[str, Alias]] = {"ode_attn": Alias()}
    reference: ClassVar = "ultra_blocks.reference.ode:ode"
    role = "ode"
    traits: ClassVar[Traits] = Traits(
        positions=frozenset({"rotate", "bias", "scores"}),
        symmetric=True,
        own_norm=True,
        speed_only=frozenset({"checkpoint"}),
        averages=True,
    )

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: Annotated[int | None, FromModel("num_heads"), Range(min=1)] = None,
        causal: bool = False,
        positions: Annotated[PositionSpec, FromModel("positions")] = "rope",
        qk_norm: bool = False,
        softcap: Annotated[float, Range(gt=0)] | None = None,
        solver: Annotated[Solver, FromModel("ode_solver")] = "rk4",
        steps: Annotated[int, FromModel("ode_steps"), Range(min=1)] = 2,
        dropout: Annotated[float, FromModel("dropout"), Range(min=0, lt=1)] = 0.0,
        checkpoint: bool = False,
        linear: Annotated[LinearFactory, FromModel("linear")] = nn.Linear,
        norm: Annotated[Callable[[int], nn.Module], FromModel("norm")] = LayerNorm,
    ) -> None:
        super().__init__(hidden_size, causal=causal)
        if solver not in TABLEAUS:
            raise ValueError(f"ODE: solver must be one of {', '.join(TABLEAUS)}; given {solver!r}")
        if steps < 1:
            raise ValueError(f"ODE: steps must be 1 or more; given {steps}")
        check_options("ODE", window=None, softcap=softcap, dropout=dropout)
        require(ODE, num_heads=num_heads, steps=steps)
        self.solver: Solver = solver
        self.steps = steps
        self.dropout = dropout
        self.checkpoint = checkpoint
        self.norm = norm(hidden_size)
        self.attention = _Derivative(
            hidden_size,
            num_heads=num_heads,
            causal=causal,
            positions=positions,
            qk_norm=qk_norm,
            softcap=softcap,
            linear=linear,
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, *, std: float = 0.02, residual_scale: float = 1.0) -> None:
        """Initialise the weights; the output projection with ``std * residual_scale / stages``."""
        if callable(reset := getattr(self.norm, "reset_parameters", None)):
            reset()
        stages = TABLEAUS[self.solver].stages
        self.attention.reset_parameters(std=std, residual_scale=residual_scale / stages)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Return ``z(1) - z(0)`` ``(B, T, D)`` from ``z(0) = x``; zeros at padding."""
        x = self.enter(x, layout)
        if layout is None:
            layout = Layout.full(x.shape[0], x.shape[1], x.device)
        held = self._mask(x)

        def field(z: Tensor) -> Tensor:
            slope = self._slope(z, layout)
            return slope if held is None else slope * held.to(slope.dtype)

        return integrate(field, x, solver=self.solver, steps=self.steps)

    def _mask(self, x: Tensor) -> Tensor | None:
        """Return the dropout mask of this solve, or None."""
        if not (self.training and self.dropout):
            return None
        return nn.functional.dropout(torch.ones_like(x, requires_grad=False), self.dropout)

    def _slope(self, z: Tensor, layout: Layout) -> Tensor:
        """Return ``Attn(norm(z))``, zeros at padding."""
        if self.checkpoint and torch.is_grad_enabled():
            y = recompute(self._evaluated, z, layout, use_reentrant=False, preserve_rng_state=False)
        else:
            y = self._evaluated(z, layout)
        assert isinstance(y, Tensor)
        return y

    def _evaluated(self, z: Tensor, layout: Layout) -> Tensor:
        y: Tensor = self.attention(self.norm(z), layout)
        return y
