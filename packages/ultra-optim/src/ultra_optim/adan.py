"""Adan: Adam with Nesterov momentum from differences of gradients."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add, copy_, lerp_, scaled
from ultra_optim.families.adam import KEEP, adam_


class Adan(Optimizer):
    """Adan (Xie et al. 2022, arXiv 2208.06677).

    d = g - g_previous, 0 at the first step
    m <- b1 m + (1 - b1) g;  n <- b2 n + (1 - b2) d;  v <- b3 v + (1 - b3) (g + b2 d)^2
    u = (m / (1 - b1^t) + b2 n / (1 - b2^t)) / (sqrt(v / (1 - b3^t)) + eps)
    p <- (p - lr u) / (1 + lr wd), or (1 - lr wd) p - lr u with ``no_prox``

    Differs from the paper: betas are decay rates, one minus those of the paper, as in the authors' code.
    Differs from that code: ``max_grad_norm`` does not change ``p.grad``.

    State: 4n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate; 5 to 10 times that of AdamW are possible.
        betas: decay rates of the averages of the gradient, its difference, and the square of g + b2 d.
        eps: added to the denominator.
        weight_decay: multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        no_prox: decoupled decay as in AdamW instead of the proximal one.
        max_grad_norm: scale the gradients of all groups to at most this norm first; 0 for no limit. Clip
            either here or in the trainer and in every step, because the method uses differences of gradients.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, a gradient is sparse, or decay is cautious without ``no_prox``.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        decay="proximal",
        gradient_scale="invariant",
        state_per_element=4,
    )
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:adan"
    state_names: ClassVar[frozenset[str]] = frozenset(
        {"step", "exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad"}
    )

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta, Beta] = (0.98, 0.92, 0.99),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        no_prox: bool = False,
        max_grad_norm: Annotated[float, Range(min=0, lt=INFINITY)] = 0.0,
        compile: bool | None = None,
    ) -> None:
        self._norm: Tensor | None = None
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "no_prox": no_prox,
            "max_grad_norm": max_grad_norm,
        }
        super().__init__(params, defaults, compile=compile)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it.

        Raises:
            ValueError: see :meth:`ultra_optim.contract.checks.Checked.add_param_group`; or decay is cautious
                and proximal at the same time.
        """
        chosen = {**self.defaults, **param_group}
        if chosen["decay_rule"] == "cautious" and not chosen["no_prox"]:
            raise ValueError("Adan: decay_rule is 'cautious', which needs decoupled decay: set no_prox=True")
        super().add_param_group(param_group)

    def prepare(self) -> None:
        """Refuse sparse gradients; compute the norm of all gradients if they are to be clipped."""
        super().prepare()
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if grads and any(group["max_grad_norm"] for group in self.param_groups):
            norms = [n.to(grads[0].device) for n in torch._foreach_norm(grads)]
            self._norm = torch.linalg.vector_norm(torch.stack(norms))

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        scale = 1.0
        if group["max_grad_norm"] and self._norm is not None:
            scale = min(1.0, group["max_grad_norm"] / (float(self._norm) + group["eps"]))
        beta1, beta2, beta3 = group["betas"]
        decay = decay_numbers(group)
        proximal = 1.0 if group["no_prox"] else 1 + decay["decay"]
        for step, same in self.count(params).items():
            names = ("previous_grad", "exp_avg", "exp_avg_diff", "exp_avg_sq")
            states = [self.zeros(same, name) for name in names]
            if step == 1:
                self.run_update(copy_gradients, same, states[0], scale=scale)
            correction = (1 - beta3**step) ** 0.5
            self.enqueue(
                adan_update,
                same,
                *states,
                step_size=group["lr"] * correction / (1 - beta1**step) / proximal,
                w1=1 - beta1,
                w2=1 - beta2,
                w3=1 - beta3,
                w_ahead=beta2,
                w_difference=beta2 * (1 - beta1**step) / (1 - beta2**step),
                eps=group["eps"] * correction,
                scale=scale,
                decay=decay["decay"] / proximal,
                cautious=decay["cautious"],
            )


def copy_gradients(
    params: list[Tensor], grads: list[Tensor], previous: list[Tensor], *, scale: float
) -> None:
    """Store the gradients times ``scale`` as those of the step before."""
    del params
    copy_(previous, grads)
    torch._foreach_mul_(previous, scale)


@compilable
def adan_update(
    params: list[Tensor],
    grads: list[Tensor],
    previous: list[Tensor],
    first: list[Tensor],
    differences: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    w3: Number,
    w_ahead: Number,
    w_difference: Number,
    eps: Number,
    scale: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`Adan` in place, to gradients times ``scale``.

    ``w1`` is 1 - b1 and so on, ``w_ahead`` is b2, ``w_difference`` the weight of n relative to m. Proximal
    decay is part of ``step_size`` and ``decay``.
    """
    if isinstance(scale, Tensor) or scale != 1.0:
        grads = scaled(grads, scale)
    changes = torch._foreach_sub(grads, previous)
    copy_(previous, grads)
    lerp_(first, grads, w1)
    lerp_(differences, changes, w2)
    ahead = add(grads, changes, w_ahead)
    directions = add(first, differences, w_difference)
    if cautious:
        decay_(params, directions, decay=decay, cautious=True)
        decay = 0.0
    adam_(params, ahead, directions, second, step_size=step_size, w1=KEEP, w2=w3, eps=eps, decay=decay)
