"""CAME: Adafactor with momentum and a confidence for each element."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.decay import DecayRule, decay_numbers
from ultra_optim.engine.plain import widen
from ultra_optim.families.factored import (
    FactoredOptimizer,
    Matrices,
    StateAxes,
    Sums,
    clip_factor,
    descend_,
    descend_each_,
    inverse_roots,
    map_rows,
    rms_of_each,
    root_mean_square,
    square_sums,
    sums_of,
    update_averages_,
)
from ultra_optim.roles.option_aliases import OptionAlias


class CAME(FactoredOptimizer):
    """CAME (Luo et al. 2023, arXiv 2307.02047).

    With G the gradient of one matrix and F(X; R, C) = R C^T / mean(R) the factored average of X with decay
    rate b, where R <- b R + (1 - b) (mean over columns of X) and C likewise over rows:

    U = G / sqrt(F(G^2 + eps1));  U <- U / max(1, rms(U) / clip_threshold);  M <- b1 M + (1 - b1) U
    S = F((U - M)^2 + eps2);  W <- (1 - lr wd) W - lr M / sqrt(S)

    with decay rate b2 in the first average and b3 in the second. Vectors and scalars keep the whole second
    moment and are updated by M.

    The averages have no bias correction, so that the first updates are several times larger than lr: use
    warm-up, and a smaller learning rate than for AdamW.

    Differs from the paper: nothing. Row blocks and experts are matrices of their own, unlike in the authors'
    code, which also treats the last two dimensions of a convolution as a matrix instead of the whole.

    State: n + 2 rows + 2 columns. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates b1, b2, b3.
        eps: eps1 and eps2.
        clip_threshold: largest rms of U.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    option_aliases: ClassVar[Mapping[str, OptionAlias]] = {
        "eps1": OptionAlias("eps", part=0),
        "eps2": OptionAlias("eps", part=1),
    }
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", whole_tensors=True
    )
    shapes: ClassVar[dict[str, StateAxes]] = {
        "exp_avg": "both",
        "exp_avg_sq_row": "rows",
        "exp_avg_sq_col": "columns",
        "exp_avg_res_row": "rows",
        "exp_avg_res_col": "columns",
    }
    reference: ClassVar[str] = "ultra_optim.reference.factored:came"
    state_names: ClassVar[frozenset[str]] = frozenset(shapes) | {"momentum", "variance"}

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 2e-4,
        *,
        betas: tuple[Beta, Beta, Beta] = (0.9, 0.999, 0.9999),
        eps: tuple[Epsilon, Epsilon] = (1e-30, 1e-16),
        clip_threshold: Annotated[float, Range(gt=0)] = 1.0,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "clip_threshold": clip_threshold,
                "weight_decay": weight_decay,
                "decay_rule": decay_rule,
            },
        )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        numbers = {
            "lr": group["lr"],
            "betas": group["betas"],
            "eps": group["eps"],
            "limit": group["clip_threshold"],
            **decay_numbers(group),
        }

        def vectors(some: list[Tensor]) -> None:
            vector_update(some, self.zeros(some, "momentum"), self.zeros(some, "variance"), **numbers)

        self.update_each(group, params, vectors, functools.partial(matrix_update, **numbers))


def matrix_update(
    matrices: Matrices,
    *,
    lr: float,
    betas: tuple[float, float, float],
    eps: tuple[float, float],
    limit: float,
    decay: float,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`CAME` to weights and state in place."""
    grad, momentum = matrices.grad, matrices["exp_avg"]
    row, column = matrices["exp_avg_sq_row"], matrices["exp_avg_sq_col"]
    update_averages_(square_sums(grad), row, column, 1 - betas[1], eps[0])
    a, b = inverse_roots(row, column)
    a.mul_(clip_factor(root_mean_square(grad, a, b), limit))

    def update_momentum(g: Tensor, m: Tensor, left: Tensor) -> Sums:
        residual = torch.addcmul(m, widen(g) * left, b, value=-1.0)  # M - U; U - (new M) is -b1 times it
        m.sub_(residual, alpha=1 - betas[0])
        return sums_of(residual.square_())

    sums = map_rows(update_momentum, grad, momentum, a)
    row, column = matrices["exp_avg_res_row"], matrices["exp_avg_res_col"]
    update_averages_(sums, row, column, 1 - betas[2], eps[1], factor=betas[0] ** 2)
    a, right = inverse_roots(row, column)

    def descend(w: Tensor, m: Tensor, left: Tensor) -> None:
        descend_(w, m * left, right, decay=decay, cautious=cautious)

    map_rows(descend, matrices.weight, momentum, a.mul_(lr))


def vector_update(
    params: list[Tensor],
    momenta: list[Tensor],
    variances: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float, float],
    eps: tuple[float, float],
    limit: float,
    decay: float,
    cautious: bool,
) -> None:
    """Update tensors that keep the whole second moment and have no confidence."""
    grads = [widen(p.grad) for p in params if p.grad is not None]
    squares = torch._foreach_mul(grads, grads)
    torch._foreach_add_(squares, eps[0])
    torch._foreach_lerp_(variances, squares, 1 - betas[1])
    updates = list(torch._foreach_rsqrt(variances))
    torch._foreach_mul_(updates, grads)
    torch._foreach_mul_(updates, list(clip_factor(rms_of_each(updates), limit).unbind()))
    torch._foreach_lerp_(momenta, updates, 1 - betas[0])
    steps = list(torch._foreach_mul(momenta, lr))
    descend_each_(params, steps, decay=decay, cautious=cautious)
