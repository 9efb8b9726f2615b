"""LAMB: Adam's direction, rescaled to the norm of each weight."""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.options import Range
from ultra_optim.averaging import direction_numbers
from ultra_optim.base import Optimizer, elementwise, on_batches, wide_dtype
from ultra_optim.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.compiled import compilable
from ultra_optim.operations import Number, adam_, add_each_, square_sum
from ultra_optim.traits import OptimizerTraits


class LAMB(Optimizer):
    """LAMB (You et al. 2020, arXiv 1904.00962).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    r = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p
    p <- p - lr phi r,  phi = |p| / |r|, or 1 where one of the norms is 0

    The norms are those of one weight; of each expert in a stacked expert weight. Tensors of fewer than two
    dimensions and groups with ``decay`` False have phi = 1, as in the authors' code.

    Differs from the paper: nothing in version 5; there is no clipping of gradients inside, which NVIDIA's
    version adds: leave that to the trainer.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: added to the direction before it is rescaled.
        max_trust: upper bound of phi, or None.
        compile: compile the update, once for all steps: see :mod:`ultra_optim.compiled`.

    Raises:
        ValueError: a hyperparameter out of range, a parameter listed twice, a foreign state dict, a
            sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        decay="inside", gradient_scale="invariant", state_per_element=2
    )
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.01,
        max_trust: Annotated[float, Range(gt=0)] | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_trust": max_trust},
            compile=compile,
        )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group."""
        beta1, beta2 = group["betas"]
        expert_dims = dict(zip(group["params"], group.get("expert_dim", ()), strict=False))
        for step, same in self.count(params).items():
            numbers: dict[str, Any] = direction_numbers(step, beta1=beta1, beta2=beta2, eps=group["eps"])
            numbers |= {"w1": 1 - beta1, "weight_decay": group["weight_decay"]}
            on_batches(functools.partial(self._update, group, expert_dims, **numbers), same)

    def _update(
        self,
        group: dict[str, Any],
        expert_dims: dict[Tensor, int | None],
        params: list[Tensor],
        **numbers: float,
    ) -> None:
        moments = self.zeros(params, "exp_avg"), self.zeros(params, "exp_avg_sq")
        directions = [torch.empty_like(p, dtype=wide_dtype(p)) for p in params]
        squares = elementwise(lamb_direction, params, *moments, directions, **numbers)
        steps = [d.new_tensor(-group["lr"]) for d in directions]
        for p, direction, square, step_size in zip(params, directions, squares, steps, strict=True):
            if p.ndim < 2 or not group.get("decay", True):
                continue
            if (dim := expert_dims.get(p)) is None:
                weight, length = square.sqrt().unbind()
                step_size.mul_(trust_ratio(weight, length, group["max_trust"]))
            else:
                weight, length = norms_of_experts(p, dim), norms_of_experts(direction, dim)
                direction.mul_(trust_ratio(weight, length, group["max_trust"]))
        elementwise(take_steps, params, directions, steps)


@compilable
def lamb_direction(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    directions: list[Tensor],
    *,
    rate: Number,
    w1: Number,
    w2: Number,
    eps: Number,
    weight_decay: Number,
) -> list[Tensor]:
    """Update the moments in place and write r of :class:`LAMB` to ``directions``; return |p|^2 and |r|^2."""
    torch._foreach_copy_(directions, params)
    torch._foreach_mul_(directions, weight_decay)
    adam_(directions, grads, first, second, rate=rate, w1=w1, w2=w2, eps=eps)
    return [torch.stack([square_sum(p), square_sum(d)]) for p, d in zip(params, directions, strict=True)]


@compilable
def take_steps(
    params: list[Tensor], grads: list[Tensor], directions: list[Tensor], steps: list[Tensor]
) -> None:
    """Add the directions times one number a tensor to the parameters in place."""
    del grads
    add_each_(params, directions, steps)


def norms_of_experts(tensor: Tensor, expert_dim: int) -> Tensor:
    """Return the norm of each expert; the shape has 1 in place of every other dimension."""
    dims = [d for d in range(tensor.ndim) if d != expert_dim]
    return torch.linalg.vector_norm(tensor, dim=dims, keepdim=True, dtype=wide_dtype(tensor))


def trust_ratio(weight: Tensor, direction: Tensor, limit: float | None = None) -> Tensor:
    """Return phi = |p| / |r| of such norms, or 1 where a norm is 0."""
    ratio = torch.where((weight > 0) & (direction > 0), weight / direction, 1.0)
    return ratio if limit is None else ratio.clamp(max=limit)
