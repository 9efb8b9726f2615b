"""ADOPT: Adam that divides by the previous second moment and so converges for every decay rate."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add_, clamped, clip_, lerp_, square_average_


class ADOPT(Optimizer):
    """ADOPT (Taniguchi et al. 2024, arXiv 2411.02853), with clipping.

    first step: v <- g^2, and no parameter moves; then, with t = 1 at the second step,

    u = clip(g / max(sqrt(v), eps), t^(1/4));  m <- b1 m + (1 - b1) u
    p <- (1 - lr wd) p - lr m;  v <- b2 v + (1 - b2) g^2

    Differs from the paper: nothing in its version 3; weight decay is decoupled, which is an option of the
    authors' code.
    Differs from pytorch_optimizer's ADOPT, whose t is larger by one and which applies weight decay in the
    first step too.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: lower bound of the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        clip: limit the elements of the normalised gradient to t^(1/4).
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        gradient_scale="invariant",
        state_per_element=2,
        idle_first_step=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:adopt"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.9999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        clip: bool = True,
        compile: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "clip": clip,
        }
        super().__init__(params, defaults, compile=compile)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group; their first step only initialises the second moment."""
        beta1, beta2 = group["betas"]
        for step, same in self.count(params).items():
            moments = self.zeros(same, "exp_avg"), self.zeros(same, "exp_avg_sq")
            if step == 1:
                self.enqueue(first_squares, same, *moments)
                continue
            self.enqueue(
                adopt_update,
                same,
                *moments,
                lr=group["lr"],
                w1=1 - beta1,
                w2=1 - beta2,
                floor=max(group["eps"] ** 2, 1e-38),
                bound=(step - 1) ** 0.25 if group["clip"] else None,
                **decay_numbers(group),
            )


def first_squares(
    params: list[Tensor], grads: list[Tensor], first: list[Tensor], second: list[Tensor]
) -> None:
    """v <- g^2, in place."""
    torch._foreach_addcmul_(second, grads, grads)


@compilable
def adopt_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    lr: Number,
    w1: Number,
    w2: Number,
    floor: Number,
    bound: Number | None,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`ADOPT` after its first step to parameters and moments in place.

    ``w1`` is 1 - b1, ``w2`` 1 - b2, ``floor`` the square of eps, because max(sqrt(v), eps) = sqrt(max(v,
    eps^2)).
    """
    normed = clamped(second, floor)
    torch._foreach_rsqrt_(normed)
    torch._foreach_mul_(normed, grads)
    if bound is not None:
        clip_(normed, bound)
    lerp_(first, normed, w1)
    decay_(params, first, decay=decay, cautious=cautious)
    add_(params, first, -lr)
    square_average_(second, grads, w2)
