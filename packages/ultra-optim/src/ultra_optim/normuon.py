"""NorMuon: Muon with steps of equal size for all neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import wide_dtype
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.state_spec import tensor_spec
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.matrices import ADAMW_STATE, matrices_in, matrix_layout
from ultra_optim.families.muon import MuonFamily
from ultra_optim.families.orthogonal import QUINTIC, AdjustLR

TINY = 1e-10
"""Lower bound of the mean square of a row, for rows that have no gradient."""


class NorMuon(MuonFamily):
    """NorMuon (Li et al. 2025, arXiv 2510.05491).

    With O the scaled, orthogonalised direction of :class:`ultra_optim.Muon` for one logical matrix:

    v_i <- b2 v_i + (1 - b2) mean_j O_ij^2;  P_ij = O_ij / sqrt(v_i);  W <- (1 - lr wd) W - lr P |O|_F / |P|_F

    Rows are neurons: all of them move by about the same amount, and the matrix as much as with Muon.

    Differs from the paper: the scale is one of Muon's; the default ``match_rms_adamw`` has the constant 0.2
    of the paper. There is no bias correction, as in the authors' code, because the normalisation removes it.

    State: n + rows. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("normuon", model)`` calls.
        lr: learning rate.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        momentum: decay rate of the momentum.
        beta2: decay rate of v.
        nesterov: use Nesterov momentum.
        ns_steps: Newton-Schulz iterations.
        ns_eps: added to the norm that the gradient is divided by; 0 makes the step independent of its size.
        ns_coefficients: coefficients a, b, c of the iteration.
        adjust_lr_fn: the scale of the step, as for Muon.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        betas: decay rates of AdamW's moments.
        eps: added to AdamW's denominator.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", matrix=True, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.orthogonal:normuon"
    state_names: ClassVar[frozenset[str]] = ADAMW_STATE | {"momentum_buffer", "row_avg_sq"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        weight_decay: WeightDecay = 0.1,
        momentum: Beta = 0.95,
        beta2: Beta = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, Range(min=1, max=30)] = 5,
        ns_eps: Epsilon = 0.0,
        ns_coefficients: tuple[float, float, float] = QUINTIC,
        adjust_lr_fn: AdjustLR = "match_rms_adamw",
        adamw_lr: LearningRate | None = None,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Epsilon = 1e-8,
        decay_rule: DecayRule = "plain",
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "beta2": beta2,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "ns_eps": ns_eps,
            "ns_coefficients": ns_coefficients,
            "adjust_lr_fn": adjust_lr_fn,
            "adamw_lr": adamw_lr,
            "betas": betas,
            "eps": eps,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state: the momentum and one number for each row."""
        spec = super().state_spec(group, parameter, saved)
        if "row_avg_sq" in spec:
            shape = _row_shape(parameter, matrix_layout(group)[parameter][1])
            spec["row_avg_sq"] = tensor_spec(parameter, shape)
        return spec

    def rescale_directions(
        self, group: dict[str, Any], params: list[Tensor], directions: list[Tensor]
    ) -> None:
        """Divide each row by the root of its averaged mean square, then restore the norm of each matrix."""
        layout = matrix_layout(group)
        for p, direction in zip(params, directions, strict=True):
            if "row_avg_sq" not in self.state[p]:
                shape = _row_shape(p, layout[p][1])
                self.state[p]["row_avg_sq"] = torch.zeros(shape, dtype=wide_dtype(p), device=p.device)
            averages = matrices_in(self.state[p]["row_avg_sq"], *layout[p])
            for matrix, rows in zip(matrices_in(direction, *layout[p]), averages, strict=True):
                normalize_rows_(matrix, rows, beta2=group["beta2"])


def normalize_rows_(matrix: Tensor, rows: Tensor, *, beta2: float) -> None:
    """Apply the formula of :class:`NorMuon` to (batch, rows, columns) and v (batch, rows, 1) in place."""
    before = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
    rows.lerp_(matrix.square().mean(-1, keepdim=True), 1 - beta2)
    matrix.mul_(rows.clamp_min(TINY).rsqrt())
    after = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
    matrix.mul_(torch.where(after > 0, before / after, 1.0))


def _row_shape(p: Tensor, expert_dim: int | None) -> tuple[int, ...]:
    columns = max(dim for dim in range(p.ndim) if dim != expert_dim)
    return tuple(1 if dim == columns else size for dim, size in enumerate(p.shape))
