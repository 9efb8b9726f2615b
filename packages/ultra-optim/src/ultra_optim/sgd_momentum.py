"""SGD with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import Beta, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, add, add_, fit_fused_kernel, scale_


class SGDMomentum(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    g <- g + wd p;  b <- momentum b + (1 - dampening) g, b = g at the first step;  p <- p - lr b
    with ``nesterov``: p <- p - lr (g + momentum b)

    Weight decay is coupled: it is added to the gradient before the momentum.

    Differs from the paper: Sutskever et al. multiply the gradient by the learning rate before it enters the
    momentum; here, as in torch, after.

    State: n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        momentum: decay rate of the momentum.
        dampening: fraction of the gradient that is left out of the momentum.
        weight_decay: coupled weight decay (L2 regularisation).
        nesterov: use Nesterov momentum; requires ``momentum`` above 0 and no dampening.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        decay="coupled",
        gradient_scale="linear",
        state_per_element=1,
        imitates="torch.optim.SGD",
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:sgd_momentum"
    state_names: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-2,
        *,
        momentum: Beta = 0.9,
        dampening: Beta = 0.0,
        weight_decay: WeightDecay = 0.0,
        nesterov: bool = False,
        compile: bool | None = None,
    ) -> None:
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"SGDMomentum: nesterov needs a momentum above 0 and no dampening; they are {momentum!r} and "
                f"{dampening!r}"
            )
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov}, compile=compile)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        numbers = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
        if group["momentum"] == 0:
            self.enqueue(descend, params, **numbers)
            return
        new = [p for p in params if "momentum_buffer" not in self.state[p]]
        old = [p for p in params if "momentum_buffer" in self.state[p]]
        # the first buffer is the gradient itself
        for some, damped in ((new, 1.0), (old, 1 - group["dampening"])):
            self.enqueue(
                sgd_update,
                some,
                self.zeros(some, "momentum_buffer"),
                momentum=group["momentum"],
                weight=damped,
                nesterov=group["nesterov"],
                **numbers,
            )


@compilable
def descend(params: list[Tensor], grads: list[Tensor], *, lr: Number, weight_decay: Number) -> None:
    """p <- p - lr (g + weight_decay p), in place."""
    add_(params, with_decay(grads, params, weight_decay), -lr)


@compilable
def sgd_update(
    params: list[Tensor],
    grads: list[Tensor],
    buffers: list[Tensor],
    *,
    lr: Number,
    momentum: Number,
    weight: Number,
    weight_decay: Number,
    nesterov: bool,
) -> None:
    """Apply the formula of :class:`SGDMomentum` in place; ``weight`` is 1 - dampening."""
    if not isinstance(lr, Tensor) and fit_fused_kernel(params, grads, buffers):
        torch._fused_sgd_(
            params,
            grads,
            buffers,
            weight_decay=weight_decay,
            momentum=momentum,
            lr=lr,
            dampening=1 - weight,
            nesterov=nesterov,
            maximize=False,
            is_first_step=False,
        )
        return
    grads = with_decay(grads, params, weight_decay)
    scale_(buffers, momentum)
    add_(buffers, grads, weight)
    add_(params, add(grads, buffers, momentum) if nesterov else buffers, -lr)


def with_decay(grads: list[Tensor], params: list[Tensor], weight_decay: Number) -> list[Tensor]:
    """Return g + weight_decay p of each."""
    if isinstance(weight_decay, Tensor) or weight_decay != 0:
        return add(grads, params, weight_decay)
    return grads
