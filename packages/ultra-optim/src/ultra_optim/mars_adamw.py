"""MARS-AdamW: AdamW on variance-reduced gradients."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer
from ultra_optim.contract.checks import INFINITY, Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.decay import DecayRule, decay_numbers
from ultra_optim.engine.operations import Number, copy_, lerp, of_each, square_sum
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import adam_numbers, adamw_update
from ultra_optim.families.experts import expert_dims, unstacked_experts


class MARSAdamW(Optimizer):
    """MARS-AdamW (Yuan et al. 2024, arXiv 2411.10438), approximate: without a second backward pass.

    c = g + gamma b1 / (1 - b1) (g - g_previous);  c <- c / max(1, |c|)
    m <- b1 m + (1 - b1) c;  v <- b2 v + (1 - b2) c^2
    p <- (1 - lr wd) p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The norm is that of one tensor, and of each expert in a stacked expert weight. In the first step
    g_previous is 0. Vectors and scalars use AdamW with ``betas_1d`` unless ``optimize_1d`` is set.

    Differs from the paper: nothing.
    Differs from the authors' code: there, only the gradients of two-dimensional tensors are corrected, while
    convolutions and stacked experts use AdamW like vectors; the step counter is not in the state dict, so
    that a resumed run repeats the bias correction; ``lr_1d`` and ``weight_decay_1d`` are 0.003 and 0.1. Here
    they are those of the group unless they are set, and do not apply to groups with a learning rate or weight
    decay of their own.

    State: 3n. Treats: everything, vectors by AdamW.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        decay_rule: how weight decay acts, see :data:`ultra_optim.engine.decay.DecayRule`.
        gamma: strength of the correction.
        optimize_1d: correct the gradients of vectors and scalars too.
        lr_1d: learning rate of AdamW for vectors; the schedule of ``lr`` applies to it.
        betas_1d: decay rates of AdamW's moments for vectors.
        weight_decay_1d: weight decay of AdamW for vectors.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, ``lr_1d`` is set while ``lr`` is 0, a parameter is
            listed twice, a state dict belongs to another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(state_dtype="wide", max_update_rms=1.5)
    reference: ClassVar[str] = "ultra_optim.reference.adam_family:mars_adamw"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq", "last_grad"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 3e-3,
        *,
        betas: tuple[Beta, Beta] = (0.95, 0.99),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        decay_rule: DecayRule = "plain",
        gamma: Annotated[float, Range(min=0, lt=INFINITY)] = 0.025,
        optimize_1d: bool = False,
        lr_1d: LearningRate | None = None,
        betas_1d: tuple[Beta, Beta] = (0.9, 0.95),
        weight_decay_1d: WeightDecay | None = None,
        compile: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay_rule": decay_rule,
            "gamma": gamma,
            "optimize_1d": optimize_1d,
            "lr_1d": lr_1d,
            "betas_1d": betas_1d,
            "weight_decay_1d": weight_decay_1d,
        }
        super().__init__(params, defaults, compile=compile)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking it; ``lr`` and ``weight_decay`` that it sets apply to its vectors too.

        Raises:
            ValueError: see :meth:`ultra_optim.contract.checks.Checked.add_param_group`; or ``lr_1d`` is set
                while ``lr`` is 0.
        """
        own = {f"{name}_1d": None for name in ("lr", "weight_decay") if name in param_group}
        group = {**own, **param_group}
        chosen = {**self.defaults, **group}
        if chosen["lr_1d"] is not None and not chosen["lr"]:
            raise ValueError(
                "MARSAdamW: lr_1d follows the schedule of lr, so lr must not be 0 when both are set"
            )
        group["lr_1d_factor"] = 1.0 if chosen["lr_1d"] is None else float(chosen["lr_1d"] / chosen["lr"])
        super().add_param_group(group)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state: the previous gradient only where it is used."""
        spec = super().state_spec(group, parameter, saved)
        if parameter.ndim < 2 and not group["optimize_1d"]:
            del spec["last_grad"]
        return spec

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        beta1, beta2 = group["betas"]
        decay = decay_numbers(group)
        strength = 1 + group["gamma"] * beta1 / (1 - beta1)
        dims = expert_dims(group)
        for step, same in self.count(params).items():
            corrected = [p for p in same if p.ndim > 1 or group["optimize_1d"]]
            numbers: dict[str, Any] = adam_numbers(
                step, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"]
            )
            passes_of = functools.partial(self._passes, dims, strength=strength, **numbers, **decay)
            self.enqueue_batches(passes_of, corrected)
            self._adamw(group, [p for p in same if not (p.ndim > 1 or group["optimize_1d"])], step)

    def _passes(
        self,
        dims: dict[Tensor, int | None],
        params: list[Tensor],
        *,
        strength: float,
        **numbers: Any,
    ) -> Passes:
        grads = [p.grad for p in params if p.grad is not None]
        states = [self.zeros(params, name) for name in ("last_grad", "exp_avg", "exp_avg_sq")]
        columns = unstacked_experts(dims, params, grads, *states)
        squares = yield Pass.over(square_of_corrected, *columns[:3], strength=strength)
        scales = of_each(lambda square: square.rsqrt().clamp(max=1), squares)
        yield Pass.over(mars_update, *columns, scales, strength=strength, **numbers)

    def _adamw(self, group: dict[str, Any], params: list[Tensor], step: int) -> None:
        lr = group["lr"] * group["lr_1d_factor"]
        weight_decay = group["weight_decay" if group["weight_decay_1d"] is None else "weight_decay_1d"]
        beta1, beta2 = group["betas_1d"]
        if params:
            self.enqueue(
                adamw_update,
                params,
                self.zeros(params, "exp_avg"),
                self.zeros(params, "exp_avg_sq"),
                **adam_numbers(step, lr=lr, beta1=beta1, beta2=beta2, eps=group["eps"]),
                **decay_numbers({**group, "lr": lr, "weight_decay": weight_decay}),
            )


@compilable
def square_of_corrected(
    params: list[Tensor], grads: list[Tensor], previous: list[Tensor], *, strength: Number
) -> list[Tensor]:
    """Return the squared norm of c = g_previous + strength (g - g_previous) of each tensor."""
    del params
    return [square_sum(c) for c in lerp(previous, grads, strength)]


@compilable
def mars_update(
    params: list[Tensor],
    grads: list[Tensor],
    previous: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    scales: list[Tensor],
    *,
    strength: Number,
    **numbers: Any,
) -> None:
    """Apply the formula of :class:`MARSAdamW` in place, with c times ``scales``; copy g to ``previous``."""
    corrected = lerp(previous, grads, strength)
    for c, scale in zip(corrected, scales, strict=True):
        c.mul_(scale)
    copy_(previous, grads)
    adamw_update(params, corrected, first, second, **numbers)
