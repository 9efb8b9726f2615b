"""Prodigy: Adam that finds its own step size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.contract.checks import INFINITY, Beta, LearningRate, WeightDecay
from ultra_optim.contract.state_spec import like
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, add_, scale_, scaled
from ultra_optim.engine.plain import Pass, Passes
from ultra_optim.families.adam import adam_


class Prodigy(Optimizer):
    """Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101).

    One distance d for all groups, estimated while it trains; p_0 are the first weights, lr the largest rate
    of the groups and u a group's rate over it::

        n <- b3 n + (d/d0) d lr <g, p_0 - p>
        s <- b3 s + (d/d0) d lr u g
        m <- b1 m + (1 - b1) d g;  v <- b2 v + (1 - b2) d^2 g^2
        d <- max(d, d_coef n / |s|_1), at most growth_rate times as large as before
        p <- p - d' lr u (m / (sqrt(v) + d eps) + wd p),   d' the d before this update

    Leave ``lr`` at 1 and use a schedule that falls (cosine). Rates of roles are multipliers: 0.1 for a role
    makes its steps a tenth of what d says, as if its weights were measured in a unit ten times larger.

    Differs from the paper: several rates are possible (the authors' code refuses them); with equal rates it
    is their algorithm. Weight decay is decoupled.

    State: 4n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: multiplies the estimated step; 1 unless it is unstable.
        betas: decay rates of the first and second moment.
        beta3: decay rate of the estimate's sums; None: the root of the second beta.
        eps: added to the denominator, times d; above 0.
        weight_decay: decoupled, multiplied by d and the learning rate.
        d0: first estimate, far too small on purpose.
        d_coef: multiplies the estimate; 0.5 or 2 for smaller or larger steps.
        growth_rate: how many times larger d may become at one update; None: no bound.
        use_bias_correction: correct the moments for their start; transformers train better with it.
        safeguard_warmup: leave the rate out of s, for schedules that warm up.
        slice_p: estimate d from every slice_p-th element; 11 saves nearly half of the memory.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter out of range, a parameter listed twice, a foreign state dict, a
            sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        decay="inside", gradient_scale="invariant", linear_in_lr=False, state_per_element=4, one_lr=True
    )
    state_names: ClassVar[frozenset[str]] = frozenset({"s", "p0", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1.0,
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
        habits = {"use_bias_correction": use_bias_correction, "safeguard_warmup": safeguard_warmup}
        super().__init__(params, {**moments, **distance, **habits}, compile=compile)

    def state_like(
        self, group: Mapping[str, Any], parameter: Tensor, saved: Mapping[str, Any]
    ) -> dict[str, Tensor | int]:
        """Return what is kept: moments, and p_0 and s of every slice_p-th element."""
        kept = super().state_like(group, parameter, saved)
        if group["slice_p"] > 1:
            thinned = (-(-parameter.numel() // group["slice_p"]),)
            kept |= {name: like(parameter, thinned) for name in ("s", "p0")}
        return kept

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; distance and counters are those of the others."""
        super().add_param_group(param_group)
        new, first = self.param_groups[-1], self.param_groups[0]
        for name, start in {"d": new["d0"], "d_max": new["d0"], "d_numerator": 0.0, "k": 0}.items():
            new.setdefault(name, first.get(name, start))

    def prepare(self) -> None:
        """Look at the gradients before anything is changed."""
        super().prepare()
        self._pending: list[tuple[dict[str, Any], list[Tensor], float]] = []
        self._sums: list[Tensor] = []

    def finish(self) -> None:
        """Update the distance, then all parameters that have a gradient."""
        if self._pending and self._lr > 0:
            before = self.param_groups[0]["d"]
            self._estimate(before)
            for group, params, step_size in self._pending:
                self.set_compile(group)
                self._move(group, params, step_size, before)
            for group in self.param_groups:
                group["k"] += 1
        self._pending = []

    @property
    def _lr(self) -> float:
        return float(max(group["lr"] for group in self.param_groups))

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Take what the gradients of the group say about the distance; its parameters move afterwards."""
        beta1, beta2 = group["betas"]
        step_size = group["d"] * group["lr"]
        if group["use_bias_correction"]:
            step_size *= (1 - beta2 ** (group["k"] + 1)) ** 0.5 / (1 - beta1 ** (group["k"] + 1))
        self._pending.append((group, params, step_size))
        if self._lr == 0:
            return
        growth, slice_p = group["d"] / group["d0"], group["slice_p"]
        unit = group["lr"] / self._lr
        numbers = {
            "beta3": math.sqrt(beta2) if group["beta3"] is None else group["beta3"],
            "weight": growth * (group["d"] * unit if group["safeguard_warmup"] else step_size),
        }
        grads = [p.grad for p in params if p.grad is not None]
        if slice_p == 1:
            self.enqueue_passes(self._statistics(params, grads, *self._starts(params, slice_p), **numbers))
            return
        thinned = ([t.detach().flatten()[::slice_p] for t in side] for side in (params, grads))
        now, slopes = ([t.to(wide_dtype(t)) for t in side] for side in thinned)
        self.enqueue_passes(self._statistics(now, slopes, *self._starts(params, slice_p), **numbers))

    def _statistics(self, *columns: Sequence[Tensor], **numbers: float) -> Passes:
        sums = yield Pass.over(prodigy_statistics, *columns, **numbers)
        self._sums += sums

    def _starts(self, params: Sequence[Tensor], slice_p: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return p_0 and s of every parameter, of every slice_p-th element."""
        for p in params:
            if "p0" not in self.state[p]:
                start = p.detach().to(wide_dtype(p), copy=True)
                if slice_p > 1:
                    start = start.flatten()[::slice_p].clone()
                self.state[p]["p0"], self.state[p]["s"] = start, torch.zeros_like(start)
        return [self.state[p]["p0"] for p in params], [self.state[p]["s"] for p in params]

    def _estimate(self, before: float) -> None:
        """Update the distance of all groups; one synchronisation on an accelerator."""
        first = self.param_groups[0]
        beta1, beta2 = first["betas"]
        beta3 = math.sqrt(beta2) if first["beta3"] is None else first["beta3"]
        rate = before * self._lr
        if first["use_bias_correction"]:
            rate *= (1 - beta2 ** (first["k"] + 1)) ** 0.5 / (1 - beta1 ** (first["k"] + 1))
        sums: Any = torch.stack(self._sums, dim=1)
        products, lengths = (
            sums.full_tensor() if hasattr(sums, "full_tensor") else sums
        ).tolist()  # of DTensors
        length = math.fsum(lengths)
        if length == 0:
            return
        numerator = beta3 * first["d_numerator"] + before / first["d0"] * rate * math.fsum(products)
        estimate = first["d_coef"] * numerator / length
        distance = max(before, estimate) if before == first["d0"] else before
        largest = max(first["d_max"], estimate)
        growth = first["growth_rate"]
        distance = largest if growth is None else min(largest, distance * growth)
        for group in self.param_groups:
            group["d"], group["d_max"], group["d_numerator"] = distance, largest, numerator

    def _move(self, group: dict[str, Any], params: list[Tensor], step_size: float, before: float) -> None:
        """Update the moments with the distance before, and step."""
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
