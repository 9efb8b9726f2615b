"""Cautious AdamW: only the elements move on which momentum and gradient agree."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.adamw import adamw_update
from ultra_optim.base import Optimizer, batches, elementwise, wide_dtype
from ultra_optim.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.decay import DecayRule, decay_, decay_numbers
from ultra_optim.traits import OptimizerTraits

LEAST_AGREEMENT = 1e-3
"""Lower bound of the share of agreeing elements that the step is divided by."""


class CautiousAdamW(Optimizer):
    """AdamW with the cautious mask (Liang et al. 2024, arXiv 2411.16085).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  a = [m g > 0]
    p <- (1 - lr wd) p - lr a / max(mean(a), 0.001) m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The mean is over the elements of a tensor whose gradient is not 0.

    Differs from the paper: it scales by n / (sum(a) + 1); this is its authors' later AdamW, whose lower bound
    of the mean is 0.001 too. pytorch_optimizer keeps the paper's. Differs from both: they count elements
    without gradient as disagreeing, which multiplies the step of the few embedding rows of a batch by up to
    a thousand; without such elements the three are the same.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate; not masked.
        decay_rule: how weight decay acts, see :data:`ultra_optim.decay.DecayRule`.

    Raises:
        ValueError: a hyperparameter out of range, a parameter listed twice, a foreign state dict, a
            sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=2, whole_tensors=True
    )
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group."""
        beta1, beta2 = group["betas"]
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            for batch in batches(same, cached=True):
                steps = [torch.zeros_like(p, dtype=wide_dtype(p)) for p in batch]
                agreeing, moved = ([s.new_zeros(()) for s in steps] for _ in range(2))
                elementwise(
                    masked_steps,
                    batch,
                    self.zeros(batch, "exp_avg"),
                    self.zeros(batch, "exp_avg_sq"),
                    steps,
                    agreeing,
                    moved,
                    step=step,
                    beta1=beta1,
                    beta2=beta2,
                    eps=group["eps"],
                )
                scales = [
                    (a / m.clamp(min=1)).clamp_(min=LEAST_AGREEMENT).reciprocal_()
                    for a, m in zip(agreeing, moved, strict=True)
                ]
                elementwise(take_steps, batch, steps, scales, lr=group["lr"], **decay)


def masked_steps(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    agreeing: list[Tensor],
    moved: list[Tensor],
    *,
    step: int,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update the moments, write -a times AdamW's direction to ``steps``, which are zero, and count.

    ``agreeing`` and ``moved``, one number a tensor, grow by the sum of a and by the number of gradients that
    are not 0.
    """
    adamw_update(steps, grads, first, second, step=step, lr=1.0, beta1=beta1, beta2=beta2, eps=eps)
    for g, s, a, n in zip(grads, steps, agreeing, moved, strict=True):
        mask = (s * g).lt_(0)
        s.mul_(mask)
        a.add_(mask.sum())
        n.add_(g.count_nonzero())


def take_steps(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    scales: list[Tensor],
    *,
    lr: float,
    shrink: float,
    cautious: bool,
) -> None:
    """Decay the parameters and move them by lr times their steps times one scale a tensor, in place."""
    if cautious:
        decay_(params, list(torch._foreach_neg(steps)), shrink=shrink, cautious=True)
    else:
        decay_(params, steps, shrink=shrink, cautious=False)
    torch._foreach_mul_(steps, scales)
    torch._foreach_add_(params, steps, alpha=lr)
