"""Adafactor: Adam's second moment from one row and one column, without momentum."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import wide_dtype
from ultra_optim.contract.checks import INFINITY, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule, decay_numbers
from ultra_optim.engine.plain import widen
from ultra_optim.families.factored import (
    FactoredOptimizer,
    Matrices,
    StateAxes,
    clip_factor,
    descend_,
    descend_each_,
    inverse_roots,
    map_rows,
    rms_of_each,
    root_mean_square,
    square_sums,
    update_averages_,
)
from ultra_optim.roles.option_aliases import Implied, OptionAlias, negative


class Adafactor(FactoredOptimizer):
    """Adafactor (Shazeer and Stern 2018, arXiv 1804.04235).

    With b = 1 - t^beta2_decay and G the gradient of one matrix:

    R <- b R + (1 - b) (mean over columns of G^2 + eps1);  C <- b C + (1 - b) (mean over rows of G^2 + eps1)
    U = G / sqrt(R C^T / mean(R));  U <- U / max(1, rms(U) / d);  W <- (1 - lr wd) W - alpha U

    alpha is lr; lr max(eps2, rms(W)) with ``scale_parameter``; with ``relative_step`` lr is at most 1 /
    sqrt(t). Vectors and scalars keep the whole second moment.

    Differs from the paper: the learning rate is used as given, neither relative to the weight nor capped,
    because a schedule and learning rates per role set it (as in Hugging Face's Trainer); both options
    together give the learning rate of the paper and of torch. Row blocks and experts are matrices of their
    own; convolutions are one matrix per filter bank. Weight decay is decoupled.
    Differs from torch: eps1 is added to the squares, as in the paper; torch clamps mean(R) to the resolution
    of the dtype, so that float32 gradients below 3e-4 always give updates of rms d.

    State: rows + columns. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        beta2_decay: exponent of the decay rate of the second moment, negative.
        eps: eps1, added to squared gradients, and eps2, the smallest rms of a weight for ``scale_parameter``.
        d: largest root mean square (rms) of an update.
        weight_decay: decoupled, multiplied by the learning rate.
        scale_parameter: multiply the learning rate by the rms of the weight.
        relative_step: limit the learning rate to 1 / sqrt(t).
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    option_aliases: ClassVar[Mapping[str, OptionAlias]] = {
        "clip_threshold": OptionAlias("d"),
        "eps1": OptionAlias("eps", part=0),
        "eps2": OptionAlias("eps", part=1),
        "beta2_decay": OptionAlias("beta2_decay", convert=negative),
        "decay_rate": OptionAlias("beta2_decay", convert=negative),
    }
    implied_options: ClassVar[Mapping[str, Implied]] = {
        "beta1": Implied((None,), "there is no first moment"),
        "warmup_init": Implied((False,), "the learning rate does not warm up by itself; use a schedule"),
    }
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", max_update_rms=1.0, whole_tensors=True
    )
    reference: ClassVar[str] = "ultra_optim.reference.factored:adafactor"
    variations: ClassVar[Mapping[str, Any]] = {
        "eps": {"scale_parameter": True},
        "relative_step": {"lr": 1.0},
    }
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "row_var", "col_var", "variance"})
    shapes: ClassVar[dict[str, StateAxes]] = {"row_var": "rows", "col_var": "columns"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        beta2_decay: Annotated[float, Range(gt=-INFINITY, lt=0)] = -0.8,
        eps: tuple[Epsilon, Epsilon] = (1e-30, 1e-3),
        d: Annotated[float, Range(gt=0)] = 1.0,
        weight_decay: WeightDecay = 0.0,
        scale_parameter: bool = False,
        relative_step: bool = False,
        decay_rule: DecayRule = "plain",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "scale_parameter": scale_parameter,
                "relative_step": relative_step,
                "decay_rule": decay_rule,
            },
        )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            numbers = {
                "weight": step ** group["beta2_decay"],
                "lr": min(group["lr"], step**-0.5) if group["relative_step"] else group["lr"],
                "eps": group["eps"],
                "limit": group["d"],
                "scale_parameter": group["scale_parameter"],
                **decay,
            }
            vectors = functools.partial(self._update_vectors, **numbers)
            self.update_each(group, same, vectors, functools.partial(matrix_update, **numbers))

    def _update_vectors(self, params: list[Tensor], **numbers: Any) -> None:
        vector_update(params, self.zeros(params, "variance"), **numbers)


def matrix_update(
    matrices: Matrices,
    *,
    weight: float,
    lr: float,
    eps: tuple[float, float],
    limit: float,
    scale_parameter: bool,
    decay: float,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`Adafactor` to weights and state in place; ``weight`` is 1 - b."""
    grad, row, column = matrices.grad, matrices["row_var"], matrices["col_var"]
    update_averages_(square_sums(grad), row, column, weight, eps[0])
    a, b = inverse_roots(row, column)
    scale = clip_factor(root_mean_square(grad, a, b), limit).mul_(lr)
    if scale_parameter:
        scale.mul_(_rms(matrices.weight).clamp_min_(eps[1]))

    def descend(w: Tensor, g: Tensor, left: Tensor) -> None:
        descend_(w, widen(g) * left, b, decay=decay, cautious=cautious)

    map_rows(descend, matrices.weight, grad, a.mul_(scale))


def vector_update(
    params: list[Tensor],
    variances: list[Tensor],
    *,
    weight: float,
    lr: float,
    eps: tuple[float, float],
    limit: float,
    scale_parameter: bool,
    decay: float,
    cautious: bool,
) -> None:
    """Apply the same formula to tensors that keep the whole second moment."""
    grads = [widen(p.grad) for p in params if p.grad is not None]
    squares = torch._foreach_mul(grads, grads)
    torch._foreach_add_(squares, eps[0])
    torch._foreach_lerp_(variances, squares, weight)
    steps = list(torch._foreach_rsqrt(variances))
    torch._foreach_mul_(steps, grads)
    scales = clip_factor(rms_of_each(steps), limit).mul_(lr)
    if scale_parameter:
        scales.mul_(rms_of_each([widen(p) for p in params]).clamp_min_(eps[1]))
    torch._foreach_mul_(steps, list(scales.unbind()))
    descend_each_(params, steps, decay=decay, cautious=cautious)


def _rms(tensor: Tensor) -> Tensor:
    """Return the rms of each matrix, (batch, 1, 1)."""
    norm = torch.linalg.vector_norm(tensor, dim=(-2, -1), keepdim=True, dtype=wide_dtype(tensor))
    return norm.div_(tensor[0].numel() ** 0.5)
