"""Prodigy: Adam that finds its own step size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.checks import INFINITY, Beta, LearningRate, WeightDecay
from ultra_optim.contract.state_spec import tensor_spec
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, add_, scale_, scaled
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import adam_


class Prodigy(Optimizer):
    """Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101).

    All groups share one distance d, which is estimated during training; p_0 are the initial weights, lr is
    the largest learning rate of the groups, and u the learning rate of a group divided by it::

        n <- b3 n + (d/d0) d lr <g, p_0 - p>
        s <- b3 s + (d/d0) d lr u g
        m <- b1 m + (1 - b1) d g;  v <- b2 v + (1 - b2) d^2 g^2
        d <- max(d, d_coef n / |s|_1), at most growth_rate times as large as before
        p <- p - d' lr u (m / (sqrt(v) + d eps) + wd p),   d' the d before this update

    Leave ``lr`` at 1 and use a decaying schedule (cosine). Learning rates of roles are multipliers: with 0.1
    the steps of a role are a tenth of those that d gives.

    Differs from the paper: groups may have different learning rates, which the authors' code refuses; with
    equal ones it is their algorithm. Weight decay is decoupled.

    State: 4n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: factor of the estimated step size; leave it at 1 unless training is unstable.
        betas: decay rates of the first and second moment.
        beta3: decay rate of the sums of the estimate; the square root of the second beta if None.
        eps: added to the denominator, multiplied by d; above 0.
        weight_decay: decoupled, multiplied by d and the learning rate.
        d0: initial estimate of d, much too small on purpose.
        d_coef: factor of the estimate; 0.5 or 2 for smaller or larger steps.
        growth_rate: largest factor by which d grows in one update; None for no bound.
        use_bias_correction: correct the bias of the moments; transformers train better with it.
        safeguard_warmup: leave the learning rate out of s, for schedules with warm-up.
        slice_p: estimate d from every slice_p-th element; 11 saves nearly half of the state memory.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        decay="inside",
        gradient_scale="invariant",
        linear_in_lr=False,
        state_per_element=4,
        one_lr=True,
        common_steps=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.prodigy:prodigy_step"
    state_names: ClassVar[frozenset[str]] = frozenset({"s", "p0", "exp_avg", "exp_avg_sq"})
    sum_over_processes: Callable[[Tensor], Tensor] | None = None
    """Adds up numbers of all processes, where each has some of the parameters."""

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1.0,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        beta3: Beta | None = None,
        eps: Annotated[float, Range(gt=0, lt=INFINITY)] = 1e-8,
        weight_decay: WeightDecay = 0.0,
        d0: Annotated[float, Range(gt=0)] = 1e-6,
        d_coef: Annotated[float, Range(gt=0)] = 1.0,
        growth_rate: Annotated[float, Range(gt=1, lt=INFINITY)] | None = None,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        slice_p: Annotated[int, Range(min=1)] = 1,
        compile: bool | None = None,
    ) -> None:
        moments = {"lr": lr, "betas": betas, "beta3": beta3, "eps": eps, "weight_decay": weight_decay}
        distance = {"d0": d0, "d_coef": d_coef, "growth_rate": growth_rate, "slice_p": slice_p}
        variant = {"use_bias_correction": use_bias_correction, "safeguard_warmup": safeguard_warmup}
        super().__init__(params, {**moments, **distance, **variant}, compile=compile)

    def state_spec(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return the specification of the state: the moments, and p_0 and s of every slice_p-th element."""
        spec = super().state_spec(group, parameter, saved)
        if group["slice_p"] > 1:
            sliced = (-(-parameter.numel() // group["slice_p"]),)
            spec |= {name: tensor_spec(parameter, sliced) for name in ("s", "p0")}
        return spec

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; it shares the distance and the counters of the others."""
        super().add_param_group(param_group)
        new, first = self.param_groups[-1], self.param_groups[0]
        for name, start in {"d": new["d0"], "d_max": new["d0"], "d_numerator": 0.0, "k": 0}.items():
            new.setdefault(name, first.get(name, start))

    def prepare(self) -> None:
        """Check the gradients before anything is changed."""
        super().prepare()
        self._pending: list[tuple[dict[str, Any], list[Tensor], float]] = []
        self._sums: list[Tensor] = []

    def finish(self) -> None:
        """Update the distance, then all parameters that have a gradient."""
        if (self._pending or self.sum_over_processes is not None) and self._lr > 0:
            before = self.param_groups[0]["d"]
            self._estimate(before)
            for group, params, step_size in self._pending:
                self.set_compile(group)
                self._enqueue_step(group, params, step_size, before)
            for group in self.param_groups:
                group["k"] += 1
        self._pending = []

    def acts_by_element(self, group: Mapping[str, Any]) -> bool:
        """Whether all elements contribute to the distance; every slice_p-th one depends on their numbers."""
        return bool(group["slice_p"] == 1)

    @property
    def _lr(self) -> float:
        return float(max(group["lr"] for group in self.param_groups))

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Add the gradients of the group to the estimate of the distance; :meth:`finish` moves parameters."""
        beta1, beta2 = group["betas"]
        step_size = group["d"] * group["lr"]
        if group["use_bias_correction"]:
            step_size *= (1 - beta2 ** (group["k"] + 1)) ** 0.5 / (1 - beta1 ** (group["k"] + 1))
        self._pending.append((group, params, step_size))
        if self._lr == 0:  # see AveragedOptimizer.rest
            self._initial(params, group["slice_p"])
            for name in ("exp_avg", "exp_avg_sq"):
                self.zeros(params, name)
            return
        growth, slice_p = group["d"] / group["d0"], group["slice_p"]
        unit = group["lr"] / self._lr
        numbers = {
            "beta3": math.sqrt(beta2) if group["beta3"] is None else group["beta3"],
            "weight": growth * (group["d"] * unit if group["safeguard_warmup"] else step_size),
        }
        grads = [p.grad for p in params if p.grad is not None]
        if slice_p == 1:
            self.enqueue_passes(self._statistics(params, grads, *self._initial(params, slice_p), **numbers))
            return
        sliced = ([t.detach().flatten()[::slice_p] for t in side] for side in (params, grads))
        values, slopes = ([t.to(wide_dtype(t)) for t in side] for side in sliced)
        self.enqueue_passes(self._statistics(values, slopes, *self._initial(params, slice_p), **numbers))

    def _statistics(self, *columns: Sequence[Tensor], **numbers: float) -> Passes:
        sums = yield Pass.over(prodigy_statistics, *columns, **numbers)
        self._sums += sums

    def _initial(self, params: Sequence[Tensor], slice_p: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return p_0 and s of every parameter, for every slice_p-th element."""
        for p in params:
            if "p0" not in self.state[p]:
                start = p.detach().to(wide_dtype(p), copy=True)
                if slice_p > 1:
                    start = start.flatten()[::slice_p].clone()
                self.state[p]["p0"], self.state[p]["s"] = start, torch.zeros_like(start)
        return [self.state[p]["p0"] for p in params], [self.state[p]["s"] for p in params]

    def _estimate(self, before: float) -> None:
        """Update the distance of all groups; this synchronises once with an accelerator."""
        first = self.param_groups[0]
        beta1, beta2 = first["betas"]
        beta3 = math.sqrt(beta2) if first["beta3"] is None else first["beta3"]
        step_size = before * self._lr
        if first["use_bias_correction"]:
            step_size *= (1 - beta2 ** (first["k"] + 1)) ** 0.5 / (1 - beta1 ** (first["k"] + 1))
        products, length = self._totals()
        if length == 0:
            return
        numerator = beta3 * first["d_numerator"] + before / first["d0"] * step_size * products
        estimate = first["d_coef"] * numerator / length
        distance = max(before, estimate) if before == first["d0"] else before
        largest = max(first["d_max"], estimate)
        growth = first["growth_rate"]
        distance = largest if growth is None else min(largest, distance * growth)
        for group in self.param_groups:
            group["d"], group["d_max"], group["d_numerator"] = distance, largest, numerator

    def _totals(self) -> tuple[float, float]:
        """Return <g, p_0 - p> and |s|_1 over all parameters, on all processes that share them."""
        sums: Any = torch.stack(self._sums, dim=1) if self._sums else torch.zeros(2, 0)
        if hasattr(sums, "full_tensor"):  # a DTensor
            sums = sums.full_tensor()
        totals = [math.fsum(values) for values in sums.tolist()]
        if self.sum_over_processes is not None:
            device = self.param_groups[0]["params"][0].device
            totals = self.sum_over_processes(
                torch.tensor(totals, dtype=torch.float64, device=device)
            ).tolist()
        return totals[0], totals[1]

    def _enqueue_step(
        self, group: dict[str, Any], params: list[Tensor], step_size: float, before: float
    ) -> None:
        """Update the moments with the previous distance, and take the step."""
        beta1, beta2 = group["betas"]
        self.enqueue(
            prodigy_update,
            params,
            self.zeros(params, "exp_avg"),
            self.zeros(params, "exp_avg_sq"),
            step_size=step_size,
            w1=1 - beta1,
            w2=1 - beta2,
            distance=before,
            eps=group["d"] * group["eps"],
            decay=step_size * group["weight_decay"],
        )


@compilable
def prodigy_statistics(
    params: list[Tensor],
    grads: list[Tensor],
    starts: list[Tensor],
    sums: list[Tensor],
    *,
    beta3: Number,
    weight: Number,
) -> list[Tensor]:
    """Update s in place; return <g, p_0 - p> and |s|_1 of each tensor."""
    scale_(sums, beta3)
    add_(sums, grads, weight)
    away = torch._foreach_sub(starts, params)
    return [torch.stack([a.mul_(g).sum(), s.abs().sum()]) for g, a, s in zip(grads, away, sums, strict=True)]


@compilable
def prodigy_update(
    params: list[Tensor],
    grads: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    step_size: Number,
    w1: Number,
    w2: Number,
    distance: Number,
    eps: Number,
    decay: Number,
) -> None:
    """Apply the last three lines of :class:`Prodigy` in place; ``w1`` is 1 - b1, ``w2`` 1 - b2."""
    adam_(
        params,
        scaled(grads, distance),
        first,
        second,
        step_size=step_size,
        w1=w1,
        w2=w2,
        eps=eps,
        decay=decay,
    )
