"""LAMB: Adam's direction, rescaled to the norm of each weight."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.options import Range
from ultra_optim.base import Optimizer, batches, elementwise, wide_dtype
from ultra_optim.checks import Beta, Epsilon, LearningRate, WeightDecay
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
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_trust": max_trust},
        )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group."""
        beta1, beta2 = group["betas"]
        expert_dims = dict(zip(group["params"], group.get("expert_dim", ()), strict=False))
        for step, same in self.count(params).items():
            for batch in batches(same):
                directions = [torch.empty_like(p, dtype=wide_dtype(p)) for p in batch]
                elementwise(
                    lamb_direction,
                    batch,
                    self.zeros(batch, "exp_avg"),
                    self.zeros(batch, "exp_avg_sq"),
                    directions,
                    step=step,
                    beta1=beta1,
                    beta2=beta2,
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                )
                for p, direction in zip(batch, directions, strict=True):
                    if p.ndim > 1 and group.get("decay", True):
                        direction.mul_(trust_ratio(p, direction, expert_dims.get(p), group["max_trust"]))
                torch._foreach_add_(batch, directions, alpha=-group["lr"])


def lamb_direction(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    directions: list[Tensor],
    *,
    step: int,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """Update the moments in place and write r of :class:`LAMB` to ``directions``."""
    torch._foreach_lerp_(first, grads, 1 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
    denominators = torch._foreach_sqrt(second)
    torch._foreach_div_(denominators, (1 - beta2**step) ** 0.5)
    torch._foreach_add_(denominators, eps)
    torch._foreach_mul_(denominators, 1 - beta1**step)
    torch._foreach_copy_(directions, first)
    torch._foreach_div_(directions, denominators)
    torch._foreach_add_(directions, params, alpha=weight_decay)


def trust_ratio(
    parameter: Tensor, direction: Tensor, expert_dim: int | None = None, limit: float | None = None
) -> Tensor:
    """Return phi = |p| / |r|, or 1 where a norm is 0.

    The shape is the parameter's with 1 in place of every dimension but ``expert_dim``.
    """
    dims = [d for d in range(parameter.ndim) if d != expert_dim]
    weight = torch.linalg.vector_norm(parameter, dim=dims, keepdim=True, dtype=direction.dtype)
    update = torch.linalg.vector_norm(direction, dim=dims, keepdim=True)
    ratio = torch.where((weight > 0) & (update > 0), weight / update, 1.0)
    return ratio if limit is None else ratio.clamp(max=limit)
