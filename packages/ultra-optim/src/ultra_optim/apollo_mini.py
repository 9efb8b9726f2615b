"""APOLLO-Mini: APOLLO of rank 1, with one scale for each matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from ultra_core.contracts import Range
from ultra_optim.apollo import APOLLO, Projection
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.engine.decay import DecayRule
from ultra_optim.families.stacks import StackedOptimizer
from ultra_optim.roles.option_aliases import Implied


class APOLLOMini(APOLLO):
    """APOLLO-Mini (Zhu et al. 2025, arXiv 2412.05270): APOLLO with r = 1 and one scale for each matrix.

    U = |N| / |R| G,  R = G P with one random column P;  W <- (1 - lr wd) W - lr c sqrt(scale) U

    c is Adam's bias correction. As in APOLLO, the norm of U grows by at most one percent a step.

    Differs from the paper: nothing. It differs from the authors' code as APOLLO does.

    State: 2 longer + 1. Treats: matrices, AdamW the rest.

    Args:
        params: groups with a ``kind``, from ``ultra_optim.param_groups(model)``, which
            ``ultra_optim.create("apollo_mini", model)`` calls.
        lr: learning rate.
        betas: decay rates of the moments, in both parts.
        eps: added to the denominator, in both parts.
        weight_decay: decoupled, multiplied by the learning rate, in both parts.
        update_interval: number of steps between two draws of P.
        scale: the update is multiplied by its square root.
        proj_type: the side of G that is projected: the shorter one (``std``), the longer one
            (``reverse_std``), columns (``right``) or rows (``left``).
        scale_front: multiply by the root of ``scale`` before the norm-growth limiter instead of after it.
        disable_nl: disable the norm-growth limiter.
        seed: seed of the random numbers.
        adamw_lr: learning rate of AdamW groups that do not set one; ``lr`` if None.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.

    Raises:
        ValueError: a group has no ``kind``, a parameter of kind ``matrix`` is not a matrix, a hyperparameter
            is out of range, a parameter is listed twice, a state dict belongs to another optimizer, or a
            gradient is sparse.
    """

    implied_options: ClassVar[Mapping[str, Implied]] = {
        "rank": Implied((1,), "the rank of apollo_mini is 1; apollo has this option"),
        "scale_type": Implied(
            ("tensor",), "apollo_mini has one scale for each matrix; apollo has this option"
        ),
    }
    reference: ClassVar[str] = "ultra_optim.testing.seeded_references:apollo_mini"
    state_names: ClassVar[frozenset[str]] = APOLLO.state_names

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-6,
        weight_decay: WeightDecay = 0.0,
        update_interval: Annotated[int, Range(min=1)] = 200,
        scale: Annotated[float, Range(gt=0, lt=INFINITY)] = 128.0,
        proj_type: Projection = "std",
        scale_front: bool = False,
        disable_nl: bool = False,
        seed: Annotated[int, Range(min=0)] = 0,
        adamw_lr: LearningRate | None = None,
        decay_rule: DecayRule = "plain",
    ) -> None:
        StackedOptimizer.__init__(  # without rank and scale_type, which APOLLO then takes as 1 and tensor
            self,
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "update_interval": update_interval,
                "scale": scale,
                "proj_type": proj_type,
                "scale_front": scale_front,
                "disable_nl": disable_nl,
                "seed": seed,
                "adamw_lr": adamw_lr,
                "decay_rule": decay_rule,
            },
        )
