"""Cautious AdamW: only the elements move on which momentum and gradient agree."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.adamw import adam_numbers
from ultra_optim.base import Optimizer, elementwise, on_batches, wide_dtype
from ultra_optim.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.compiled import compilable
from ultra_optim.decay import DecayRule, decay_, decay_numbers
from ultra_optim.operations import Number, adam_, add_each_, square_sum
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
        compile: compile the update, once for all steps: see :mod:`ultra_optim.compiled`.

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
        compile: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
        }
        super().__init__(params, defaults, compile=compile)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Move these parameters of the group."""
        beta1, beta2 = group["betas"]
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            numbers: dict[str, Any] = adam_numbers(step, lr=1.0, beta1=beta1, beta2=beta2, eps=group["eps"])
            on_batches(functools.partial(self._update, lr=group["lr"], decay=decay, **numbers), same)

    def _update(self, params: list[Tensor], *, lr: float, decay: dict[str, Any], **numbers: float) -> None:
        moments = self.zeros(params, "exp_avg"), self.zeros(params, "exp_avg_sq")
        steps = [torch.zeros_like(p, dtype=wide_dtype(p)) for p in params]
        counts = elementwise(masked_steps, params, *moments, steps, **numbers)
        scales = [-lr / (a / n.clamp(min=1)).clamp(min=LEAST_AGREEMENT) for a, n in counts]
        elementwise(take_steps, params, steps, scales, **decay)


@compilable
def masked_steps(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    rate: Number,
    w1: Number,
    w2: Number,
    eps: Number,
) -> list[Tensor]:
    """Update the moments and write a times AdamW's direction to ``steps``, which are zero.

    Returns:
        for each tensor the sum of a and the number of elements where neither m nor g is 0.
    """
    adam_(steps, grads, first, second, rate=rate, w1=w1, w2=w2, eps=eps)
    against = torch._foreach_mul(steps, grads)  # below 0 where they agree
    torch._foreach_sign_(against)
    counts = [(a.sum(), square_sum(a)) for a in against]
    torch._foreach_clamp_max_(against, 0.0)
    torch._foreach_mul_(steps, against)
    return [torch.stack([(moved - surplus) / 2, moved]) for surplus, moved in counts]


@compilable
def take_steps(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    scales: list[Tensor],
    *,
    shrink: Number,
    cautious: bool,
) -> None:
    """Decay the parameters and move them by their steps times one scale a tensor, in place."""
    del grads
    decay_(params, steps, shrink=shrink, cautious=cautious)
    add_each_(params, steps, scales)
