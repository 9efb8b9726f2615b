"""Sophia: momentum divided by an estimate of the curvature, clipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_, decay_numbers
from ultra_optim.engine.operations import Number, add_, clamped, clip_, lerp_, scaled
from ultra_optim.roles.option_aliases import OptionAlias


class Sophia(Optimizer):
    """Sophia-G (Liu et al. 2023, arXiv 2305.14342), with Gauss-Newton-Bartlett curvature.

    ::

        m <- b1 m + (1 - b1) g
        p <- (1 - lr wd) p - lr clip(m / max(rho h, eps), -1, 1)
        every ``update_period`` steps:  h <- b2 h + (1 - b2) n g'^2

    g' is the gradient of the mean loss of n predictions against labels that are sampled from the predictions
    of the model. It needs one more forward and backward pass, which the optimizer cannot run alone: after the
    first step and every ``update_period`` steps from then on, :attr:`curvature_due` is true and
    :meth:`curvature_step` must be called before the next step. ultra's trainer does it. In your own loop::

        optimizer.step()
        if optimizer.curvature_due:
            optimizer.curvature_step(sampled)  # backward of the mean loss on sampled labels; returns n

    Differs from the paper: the first estimate comes after the first step instead of after ``update_period``
    steps, which with h = 0 are sign descent; n, called ``bs`` by the authors, is counted in the pass itself.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate, the largest movement of an element; about half of AdamW's.
        betas: decay rates of the momentum and of the curvature.
        rho: factor of the curvature; larger values clip fewer elements. Aim at 10 to 50 % unclipped elements.
        update_period: number of steps between two estimates of the curvature.
        eps: smallest denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
        RuntimeError: ``step()`` is called while an estimate of the curvature is due.
    """

    option_aliases: ClassVar[Mapping[str, OptionAlias]] = {"update_k": OptionAlias("update_period")}
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        state_per_element=2,
        max_update_rms=1.0,
        needs_curvature=True,
        common_steps=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.formulas:sophia"
    state_names: ClassVar[frozenset[str]] = frozenset({"exp_avg", "curvature"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-4,
        *,
        betas: tuple[Beta, Beta] = (0.965, 0.99),
        rho: Annotated[float, Range(gt=0, lt=INFINITY)] = 0.04,
        update_period: Annotated[int, Range(min=1)] = 10,
        eps: Epsilon = 1e-15,
        weight_decay: WeightDecay = 0.1,
        decay_rule: DecayRule = "plain",
        compile: bool | None = None,
    ) -> None:
        options = {"lr": lr, "betas": betas, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(
            params, {**options, "decay_rule": decay_rule, "update_period": update_period}, compile=compile
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which counts its steps and records the step of its last curvature estimate."""
        super().add_param_group(param_group)
        for name in ("steps", "estimated_at"):
            self.param_groups[-1].setdefault(name, 0)

    @property
    def curvature_due(self) -> bool:
        """Whether :meth:`curvature_step` must be called before the next step."""
        return any(
            (group["steps"] - 1) % group["update_period"] == 0 and group["estimated_at"] < group["steps"]
            for group in self.param_groups
            if group["steps"]
        )

    def prepare(self) -> None:
        """Check the gradients, and that no curvature estimate is due, before anything is changed.

        Raises:
            RuntimeError: an estimate of the curvature is due.
        """
        super().prepare()
        if self.curvature_due:
            raise RuntimeError(
                "Sophia: curvature_step(closure) must be called first, or this step would be sign descent: "
                "train with ultra-train, or call it whenever curvature_due is true"
            )

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        group["steps"] += 1
        self.enqueue(
            sophia_update,
            params,
            self.zeros(params, "exp_avg"),
            self.zeros(params, "curvature"),
            lr=group["lr"],
            w1=1 - group["betas"][0],
            rho=group["rho"],
            eps=group["eps"],
            **decay_numbers(group),
        )

    def curvature_step(self, closure: Callable[[], float]) -> None:
        """Update the estimate of the curvature; gradients are cleared before and after.

        Args:
            closure: samples labels from the predictions of the model, runs the backward pass of the mean loss
                against them, and returns their number n.
        """
        self.zero_grad()
        with torch.enable_grad():
            count = float(closure())
        with torch.no_grad():
            for group in self.param_groups:
                group["estimated_at"] = group["steps"]
                params = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
                if params:
                    curvatures = self.zeros(params, "curvature")
                    self.set_compile(group)
                    self.run_update(
                        curvature_update, params, curvatures, beta2=group["betas"][1], count=count
                    )
        self.zero_grad()


@compilable
def sophia_update(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    curvatures: list[Tensor],
    *,
    lr: Number,
    w1: Number,
    rho: Number,
    eps: Number,
    decay: Number,
    cautious: bool,
) -> None:
    """Apply the formula of :class:`Sophia` to parameters and momenta in place; ``w1`` is 1 - b1."""
    lerp_(momenta, grads, w1)
    directions = torch._foreach_div(momenta, clamped(scaled(curvatures, rho), eps))
    clip_(directions, 1.0)
    decay_(params, directions, decay=decay, cautious=cautious)
    add_(params, directions, -lr)


def curvature_update(
    params: list[Tensor], grads: list[Tensor], curvatures: list[Tensor], *, beta2: float, count: float
) -> None:
    """Average n g'^2 into the curvature in place."""
    del params
    torch._foreach_mul_(curvatures, beta2)
    torch._foreach_addcmul_(curvatures, grads, grads, count * (1 - beta2))
