"""Lion: the sign of an interpolation between momentum and gradient."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add_, lerp, lerp_


class Lion(Optimizer):
    """Lion (Chen et al. 2023, arXiv 2302.06675).

    p <- (1 - lr wd) p - lr sign(b1 m + (1 - b1) g);  m <- b2 m + (1 - b2) g

    Every element moves by exactly lr: use a learning rate 3 to 10 times smaller than for AdamW, and a weight
    decay that is larger by the same factor.

    Differs from the paper: nothing.

    State: n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: weight of the momentum in the update, and decay rate of the momentum.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
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
        state_per_element=1,
        max_update_rms=1.0,
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:lion"
    state_names: ClassVar[frozenset[str]] = frozenset({"exp_avg"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-4,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.99),
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        compile: bool | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "decay_rule": decay_rule}
        super().__init__(params, defaults, compile=compile)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        self.enqueue(
            lion_update,
            params,
            self.zeros(params, "exp_avg"),
            lr=group["lr"],
            w1=1 - beta1,
            w2=1 - beta2,
            **decay_numbers(group),
        )


@compilable
def lion_update(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    *,
    lr: Number,
    w1: Number,
    w2: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`Lion` in place; ``w1`` is 1 - b1, ``w2`` 1 - b2."""
    directions = lerp(momenta, grads, w1)
    torch._foreach_sign_(directions)
    decay_(params, directions, decay=decay, cautious=cautious)
    add_(params, directions, -lr)
    lerp_(momenta, grads, w2)
