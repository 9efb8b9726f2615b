"""SGD with momentum: torch's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.checks import Beta, Checked, LearningRate, WeightDecay, check_hyperparameters
from ultra_optim.kept import like
from ultra_optim.traits import OptimizerTraits


class SGDMomentum(Checked, torch.optim.SGD):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), by ``torch.optim.SGD``.

    g <- g + wd p;  b <- momentum b + (1 - dampening) g, b = g at the first step;  p <- p - lr b
    with ``nesterov``: p <- p - lr (g + momentum b)

    The weight decay is coupled: it is part of the gradient that the momentum averages.

    Differs from the paper: Sutskever et al. multiply the gradient by the learning rate before it enters
    the momentum; here, as in torch, after.

    torch's fused kernel is not used: in 2.13 it fails on parameters whose first gradient comes late, and
    on a CPU it leaves bfloat16 parameters where they are.

    State: n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        momentum: decay rate of the momentum.
        dampening: part of the gradient that does not enter the momentum.
        weight_decay: coupled L2 term.
        nesterov: look ahead; needs momentum and no dampening.

    Raises:
        ValueError: a hyperparameter out of range, a parameter listed twice, a foreign state dict, a
            sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        decay="coupled", gradient_scale="linear", state_per_element=1
    )
    state_names: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1e-2,
        momentum: Beta = 0.9,
        dampening: Beta = 0.0,
        weight_decay: WeightDecay = 0.0,
        nesterov: bool = False,
    ) -> None:
        options: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        check_hyperparameters(SGDMomentum, options)
        super().__init__(params, **options)
        self.watch_steps()

    def state_like(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return what torch keeps, if there is momentum."""
        return {"momentum_buffer": like(parameter, dtype=parameter.dtype)}
