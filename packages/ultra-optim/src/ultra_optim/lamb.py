"""LAMB: Adam's direction, scaled by the norm of each weight."""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, of_each, scaled, square_sum
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import adam_, adam_numbers, adamw_update, scaled_adam_step_
from ultra_optim.families.experts import expert_dims, unstacked_experts


class LAMB(Optimizer):
    """LAMB (You et al. 2020, arXiv 1904.00962).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    r = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p
    p <- p - lr phi r,  phi = |p| / |r|, or 1 where one of the norms is 0

    The norms are those of one weight, and of each expert in a stacked expert weight. Vectors, scalars and
    groups with ``decay`` False have phi = 1, as in the authors' code.

    Differs from the paper: nothing in version 5. NVIDIA's version also clips gradients; here the trainer does
    that.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: added to the direction before it is scaled.
        max_trust: upper bound of phi; None for no bound.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", decay="inside", gradient_scale="invariant", state_per_element=2
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:lamb"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.01,
        max_trust: Annotated[float, Range(gt=0)] | None = None,
        compile: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_trust": max_trust},
            compile=compile,
        )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        rescaled = {p for p in params if p.ndim > 1 and group.get("decay", True)}
        for step, same in self.count(params).items():
            numbers: dict[str, Any] = adam_numbers(step, lr=1.0, beta1=beta1, beta2=beta2, eps=group["eps"])
            passes_of = functools.partial(self._passes, group, expert_dims(group), **numbers)
            self.enqueue_batches(passes_of, [p for p in same if p in rescaled])
            if rest := [p for p in same if p not in rescaled]:
                moments = self.zeros(rest, "exp_avg"), self.zeros(rest, "exp_avg_sq")
                numbers["step_size"] *= group["lr"]
                decay = group["lr"] * group["weight_decay"]
                self.enqueue(adamw_update, rest, *moments, **numbers, decay=decay, cautious=False)

    def _passes(
        self, group: dict[str, Any], dims: dict[Tensor, int | None], params: list[Tensor], **numbers: float
    ) -> Passes:
        grads = [p.grad for p in params if p.grad is not None]
        moments = self.zeros(params, "exp_avg"), self.zeros(params, "exp_avg_sq")
        columns = unstacked_experts(dims, params, grads, *moments)
        squares = yield Pass.over(lamb_norms, *columns, **numbers, weight_decay=group["weight_decay"])
        ratios = of_each(functools.partial(trust_ratios, limit=group["max_trust"]), squares)
        yield Pass.over(
            lamb_update,
            *columns,
            ratios,
            step_size=group["lr"] * numbers["step_size"],
            eps=numbers["eps"],
            decay=group["lr"] * group["weight_decay"],
        )


@compilable
def lamb_norms(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    eps: Number,
    weight_decay: Number,
) -> list[Tensor]:
    """Update the moments in place; return |p|^2 and |r|^2 of :class:`LAMB` for each weight."""
    directions = scaled(params, -weight_decay)
    adam_(directions, grads, first, second, step_size=step_size, w1=w1, w2=w2, eps=eps)
    return [torch.stack([square_sum(p), square_sum(d)]) for p, d in zip(params, directions, strict=True)]


@compilable
def lamb_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    ratios: list[Tensor],
    *,
    step_size: Number,
    eps: Number,
    decay: Number,
) -> None:
    """Take the step of :class:`LAMB` in place; computing the directions again is faster than storing them."""
    scaled_adam_step_(params, grads, first, second, ratios, step_size=step_size, eps=eps, decay=decay)


def trust_ratios(squares: Tensor, limit: float | None = None) -> Tensor:
    """Return phi = |p| / |r| for rows of (|p|^2, |r|^2); 1 where a norm is 0."""
    weight, direction = squares.sqrt().unbind(-1)
    ratio = torch.where((weight > 0) & (direction > 0), weight / direction, 1.0)
    return ratio if limit is None else ratio.clamp(max=limit)
