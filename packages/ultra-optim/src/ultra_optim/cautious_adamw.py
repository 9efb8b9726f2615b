"""Cautious AdamW: only elements whose momentum and gradient have the same sign move."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, lerp_, of_each, square_sum
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import KEEP, adam_, adam_numbers, as_number

MIN_AGREEMENT = 1e-3
"""Lower bound of the fraction of agreeing elements, by which the step is divided."""


class CautiousAdamW(Optimizer):
    """AdamW with the cautious mask (Liang et al. 2024, arXiv 2411.16085).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  a = [m g > 0]
    p <- (1 - lr wd) p - lr a / max(mean(a), 0.001) m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The mean is taken over the elements of a tensor whose gradient is not 0.

    Differs from the paper: it scales by n / (sum(a) + 1), as pytorch_optimizer does; this is the authors'
    later AdamW, which has the same lower bound of 0.001.
    Differs from both: they count elements with zero gradient as disagreeing, which multiplies the step of the
    few embedding rows in a batch by up to a thousand; without such elements the three are the same.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate; the mask does not apply to it.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    idle_options: ClassVar[Mapping[str, str]] = {
        "cautious_clip": "the method clips nothing; the fraction that it divides by is at least 0.001"
    }
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide", gradient_scale="invariant", state_per_element=2, whole_tensors=True
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:cautious_adamw"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        compile: bool | None = None,
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
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            numbers: dict[str, Any] = adam_numbers(
                step, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"]
            )
            self.enqueue_batches(functools.partial(self._passes, **numbers, **decay), same)

    def _passes(self, params: list[Tensor], *, w1: float, **numbers: Any) -> Passes:
        first, second = self.zeros(params, "exp_avg"), self.zeros(params, "exp_avg_sq")
        counts = yield Pass.of(agreement, params, first, w1=w1)
        yield Pass.of(cautious_update, params, first, second, of_each(step_factors, counts), **numbers)


def step_factors(counts: Tensor) -> Tensor:
    """Return the factors n / max(a, 0.001 n) for rows of ``(a, n)``."""
    agreeing, moved = counts.unbind(-1)
    moved = moved.clamp(min=1)
    return moved / torch.maximum(agreeing, MIN_AGREEMENT * moved)


@compilable
def agreement(params: list[Tensor], grads: list[Tensor], first: list[Tensor], *, w1: Number) -> list[Tensor]:
    """Update m in place.

    Returns:
        for each tensor the sum of a, and the number of elements for which neither m nor g is 0.
    """
    del params
    lerp_(first, grads, w1)
    signs = torch._foreach_mul(first, grads)
    torch._foreach_sign_(signs)
    counts = [(s.sum(), square_sum(s)) for s in signs]
    return [torch.stack([(surplus + moved) / 2, moved]) for surplus, moved in counts]


@compilable
def cautious_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    factors: list[Tensor],
    *,
    step_size: Number,
    w2: Number,
    eps: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Update v, apply weight decay and take the masked step times the factor of each tensor, in place."""
    masked = list(torch._foreach_mul(first, grads))
    torch._foreach_sign_(masked)
    torch._foreach_clamp_min_(masked, 0.0)
    torch._foreach_mul_(masked, first)
    if cautious:
        decay_(params, masked, decay=decay, cautious=True)
        decay = 0.0
    for p, g, m, v, factor in zip(params, grads, masked, second, factors, strict=True):
        own = step_size * as_number(factor, step_size)
        adam_([p], [g], [m], [v], step_size=own, w1=KEEP, w2=w2, eps=eps, decay=decay)
