"""AdEMAMix: Adam with a second, much slower average of the gradient."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add, lerp_
from ultra_optim.families.adam import KEEP, adam_, adam_numbers


class AdEMAMix(Optimizer):
    """AdEMAMix (Pagliardini et al. 2024, arXiv 2409.03137).

    m1 <- b1 m1 + (1 - b1) g;  m2 <- b3_t m2 + (1 - b3_t) g;  v <- b2 v + (1 - b2) g^2
    u = (m1 / (1 - b1^t) + alpha_t m2) / (sqrt(v / (1 - b2^t)) + eps);  p <- (1 - lr wd) p - lr u

    Over the first T steps alpha_t grows linearly to alpha, and b3_t grows from b1 to b3 so that its half-life
    log(1/2) / log(b3_t) grows linearly. Without this warm-up the method diverges early, so T is required:
    ultra's trainer passes ``total_steps``, the number of updates of the run. Both schedules follow the
    counter in the state, also in a resumed run.

    Differs from the paper: nothing. The default of alpha is 2 in the authors' code; 5 is the smallest value
    of the paper and the default of pytorch_optimizer, which has no warm-up unless it is requested.

    State: 3n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates b1 of the fast average, b2 of the second moment, b3 of the slow average.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        alpha: weight of the slow average.
        t_alpha_beta3: T; ``total_steps`` if None, no warm-up if 0.
        total_steps: number of updates of the run.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, neither ``t_alpha_beta3`` nor ``total_steps`` is given,
            a parameter is listed twice, a state dict belongs to another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        gradient_scale="invariant",
        state_per_element=3,
        needs_total_steps=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:ademamix"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_slow", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta, Beta] = (0.9, 0.999, 0.9999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        alpha: Annotated[float, Range(min=0, lt=INFINITY)] = 5.0,
        t_alpha_beta3: Annotated[int, Range(min=0)] | None = None,
        total_steps: Annotated[int, Range(min=1)] | None = None,
        compile: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "alpha": alpha,
            "t_alpha_beta3": t_alpha_beta3,
            "total_steps": total_steps,
        }
        super().__init__(params, defaults, compile=compile)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it.

        Raises:
            ValueError: see :meth:`ultra_optim.contract.checks.Checked.add_param_group`; or the length of the
                warm-up of the slow average is not given.
        """
        chosen = {**self.defaults, **param_group}
        if chosen["t_alpha_beta3"] is None and chosen["total_steps"] is None:
            raise ValueError(
                "AdEMAMix needs the length of the warm-up of its slow average: pass total_steps, "
                "the number of updates of the run, or t_alpha_beta3 (0 for no warm-up)"
            )
        super().add_param_group(param_group)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2, beta3 = group["betas"]
        warmup = group["total_steps"] if group["t_alpha_beta3"] is None else group["t_alpha_beta3"]
        for step, same in self.count(params).items():
            share = min(step / warmup, 1.0) if warmup else 1.0
            slow = share * group["alpha"] * (1 - beta1**step)
            self.enqueue(
                ademamix_update,
                same,
                self.zeros(same, "exp_avg"),
                self.zeros(same, "exp_avg_slow"),
                self.zeros(same, "exp_avg_sq"),
                **adam_numbers(step, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"]),
                w3=1 - between_half_lives(beta1, beta3, share),
                alpha=slow,
                **decay_numbers(group),
            )


def between_half_lives(beta: float, other: float, share: float) -> float:
    """Return the decay rate whose half-life is interpolated between those of two rates, by ``share``."""
    lives = [1 / math.log(b) if b > 0 else 0.0 for b in (beta, other)]  # in units of log(1/2)
    life = (1 - share) * lives[0] + share * lives[1]
    return min(math.exp(1 / life), max(beta, other)) if life else 0.0


@compilable
def ademamix_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    slow: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    w3: Number,
    alpha: Number,
    eps: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`AdEMAMix` to parameters and state in place.

    ``w1`` is 1 - b1 and so on; ``alpha`` is the weight of m2 relative to m1 without bias correction.
    """
    lerp_(slow, grads, w3)
    lerp_(first, grads, w1)
    directions = add(first, slow, alpha)
    if cautious:
        decay_(params, directions, decay=decay, cautious=True)
        decay = 0.0
    adam_(params, grads, directions, second, step_size=step_size, w1=KEEP, w2=w2, eps=eps, decay=decay)
