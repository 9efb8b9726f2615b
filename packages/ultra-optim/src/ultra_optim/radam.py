"""RAdam: Adam with a rectified adaptive learning rate."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add_, lerp_, square_average_
from ultra_optim.families.adam import adamw_update


class RAdam(Optimizer):
    """RAdam (Liu et al. 2020, arXiv 1908.03265).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    rho_max = 2 / (1 - b2) - 1;  rho = rho_max - 2 t b2^t / (1 - b2^t)
    r = sqrt((rho - 4) (rho - 2) rho_max / ((rho_max - 4) (rho_max - 2) rho))
    p <- (1 - lr wd) p - lr r m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps)  where rho > 5
    p <- (1 - lr wd) p - lr m / (1 - b1^t)  elsewhere (the first 5 steps with b2 = 0.999)

    Needs no warm-up. The first steps are proportional to the gradient: clip large gradients.

    Differs from the paper: the threshold of rho is 5 as in the authors' code and torch, 4 in the paper;
    weight decay is decoupled, in ``torch.optim.RAdam`` only with ``decoupled_weight_decay=True``.
    Differs from pytorch_optimizer's RAdam, which leaves parameters as they are below the threshold.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True, state_dtype="wide", state_per_element=2, max_update_rms=1.1
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:radam"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
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
            factor = rectification(step, beta2)
            moments = self.zeros(same, "exp_avg"), self.zeros(same, "exp_avg_sq")
            step_size = group["lr"] / (1 - beta1**step)
            weights = {"w1": 1 - beta1, "w2": 1 - beta2, **decay}
            if factor is None:
                self.enqueue(momentum_update, same, *moments, step_size=step_size, **weights)
            else:
                step_size *= factor * (1 - beta2**step) ** 0.5
                self.enqueue(adamw_update, same, *moments, step_size=step_size, eps=group["eps"], **weights)


def rectification(step: int, beta2: float) -> float | None:
    """Return r of :class:`RAdam`, or None where rho <= 5."""
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * step * beta2**step / (1 - beta2**step)
    if length <= 5:
        return None
    squared = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    return float(squared**0.5)


@compilable
def momentum_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the step of :class:`RAdam` that does not divide by the second moment, in place."""
    lerp_(first, grads, w1)
    square_average_(second, grads, w2)
    decay_(params, first, decay=decay, cautious=cautious)
    add_(params, first, -step_size)
