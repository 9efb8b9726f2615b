"""StableAdamW: AdamW with update clipping for each tensor."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, clamped, lerp_, of_each
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import scaled_adam_step_


class StableAdamW(Optimizer):
    """StableAdamW (Wortsman et al. 2023, arXiv 2304.13013): AdamW with the update clipping of Adafactor.

    c(b) = b (1 - b^(t - 1)) / (1 - b^t)
    m <- c(b1) m + (1 - c(b1)) g;  v <- c(b2) v + (1 - c(b2)) g^2
    rms = sqrt(mean(g^2 / max(v, eps^2)));  lr' = lr / max(1, rms)
    p <- (1 - lr' wd) p - lr' m / (sqrt(v) + eps)

    Gradient clipping is not needed: a sudden large gradient reduces the learning rate of its tensor.

    Differs from the paper: nothing. The corrected decay rates c(b) give the same m and v as division by 1 -
    b^t.
    Differs from pytorch_optimizer's StableAdamW: there is no Kahan summation; keep weights in float32.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate lr' of the tensor.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        state_dtype="wide",
        decay="inside",
        gradient_scale="invariant",
        state_per_element=2,
        max_update_rms=1.1,
        whole_tensors=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:stable_adamw"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.99),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.01,
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
        decay = decay_numbers(group)
        for step, same in self.count(params).items():
            w1, w2 = (1 - b * (1 - b ** (step - 1)) / (1 - b**step) for b in group["betas"])
            numbers = {"w1": w1, "w2": w2, "lr": group["lr"], "eps": group["eps"], **decay}
            self.enqueue_batches(functools.partial(self._passes, **numbers), same)

    def _passes(self, params: list[Tensor], *, w1: float, w2: float, eps: float, **numbers: Any) -> Passes:
        moments = self.zeros(params, "exp_avg"), self.zeros(params, "exp_avg_sq")
        sums = yield Pass.of(stable_moments, params, *moments, w1=w1, w2=w2, floor=eps * eps)
        means = [s / p.numel() for s, p in zip(sums, params, strict=True)]
        factors = of_each(lambda mean: mean.rsqrt().clamp(max=1), means)
        yield Pass.of(stable_update, params, *moments, factors, eps=eps, **numbers)


@compilable
def stable_moments(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    w1: Number,
    w2: Number,
    floor: Number,
) -> list[Tensor]:
    """Update the moments in place; return the sum of g^2 / max(v, floor) for each tensor."""
    lerp_(first, grads, w1)
    squares = torch._foreach_mul(grads, grads)
    lerp_(second, squares, w2)
    ratios = torch._foreach_div(squares, clamped(second, floor))
    return [ratio.sum() for ratio in ratios]


@compilable
def stable_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    factors: list[Tensor],
    *,
    lr: Number,
    eps: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the last line of :class:`StableAdamW` in place, with lr' = lr times the factor of each tensor."""
    if cautious:
        decay_(params, first, decay=[factor * decay for factor in factors], cautious=True)
        decay = 0.0
    scaled_adam_step_(params, grads, first, second, factors, step_size=lr, eps=eps, decay=decay)
