"""Schedule-free AdamW: an average of the iterates replaces the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, scaled
from ultra_optim.families.adam import KEEP, adam_, direction_numbers
from ultra_optim.families.averaging import AveragedOptimizer, average_, average_numbers


class ScheduleFreeAdamW(AveragedOptimizer):
    """Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled", arXiv 2405.15682).

    With the gradient g at y = (1 - b1) z + b1 x and the learning rate gamma, warm-up included::

        v <- b2 v + (1 - b2) g^2
        d = g / (sqrt(v / (1 - b2^t)) + eps) + wd y
        z <- z - gamma d
        x <- (1 - c) x + c z,   c = w_t / sum w,   w_t = t^r (largest gamma so far)^weight_lr_power

    The average x is evaluated and saved: call ``optimizer.eval()`` before and ``optimizer.train()`` after, as
    for the model; ultra's trainer does it. Use a constant schedule, which the average replaces;
    ``warmup_steps`` is the warm-up.

    Differs from the paper: the second moment has bias correction, as in the authors' code; a step with
    learning rate 0 is skipped instead of averaged and changes nothing; the optimizer starts in training mode.
    Weight decay is computed at y.

    State: 2n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate, 1 to 10 times that of AdamW.
        betas: weight of the average in y, above 0, and decay rate of the second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        warmup_steps: number of updates in which the learning rate increases linearly.
        r: power of the step number in the weights of the average.
        weight_lr_power: power of the learning rate in these weights.
        compile: None runs C loops on a CPU with a C compiler, True requires compiled code, False runs torch
            operations, see :mod:`ultra_optim.engine.compilation`.

    Raises:
        ValueError: a hyperparameter is out of range, a parameter is listed twice, a state dict belongs to
            another optimizer, or a gradient is sparse.
        RuntimeError: ``step()`` is called in evaluation mode.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        elementwise=True,
        state_dtype="wide",
        decay="inside",
        gradient_scale="invariant",
        linear_in_lr=False,
        state_per_element=2,
        eval_weights=True,
        own_schedule=True,
        common_steps=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.averaging:schedulefree_adamw"
    variations: ClassVar[Mapping[str, Any]] = {
        "warmup_steps": {"warmup_steps": 5},
        "weight_lr_power": {"warmup_steps": 5},
    }
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "z", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 2.5e-3,
        *,
        betas: tuple[Annotated[float, Range(gt=0, lt=1)], Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        warmup_steps: Annotated[int, Range(min=0)] = 0,
        r: Annotated[float, Range(min=0)] = 0.0,
        weight_lr_power: Annotated[float, Range(min=0)] = 2.0,
        compile: bool | None = None,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        average = {"warmup_steps": warmup_steps, "r": r, "weight_lr_power": weight_lr_power}
        super().__init__(params, {**options, **average}, compile=compile)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which has its own average."""
        super().add_param_group(param_group)
        for name, start in {"k": 0, "weight_sum": 0.0, "lr_max": 0.0}.items():
            self.param_groups[-1].setdefault(name, start)

    def interpolation_weight(self, group: dict[str, Any]) -> float:
        """Return b1."""
        return float(group["betas"][0])

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        if group["lr"] == 0:
            self.rest(params)
            return
        group["k"] += 1
        lr = group["lr"] * min(1.0, group["k"] / max(1, group["warmup_steps"]))
        group["lr_max"] = max(group["lr_max"], lr)
        weight = group["k"] ** group["r"] * group["lr_max"] ** group["weight_lr_power"]
        group["weight_sum"] += weight
        for step, same in self.count(params).items():
            self.enqueue(
                schedulefree_update,
                same,
                self.base_iterates(same),
                self.zeros(same, "exp_avg_sq"),
                **direction_numbers(step, beta2=group["betas"][1], eps=group["eps"]),
                **average_numbers(lr, self.interpolation_weight(group), weight / group["weight_sum"]),
                weight_decay=group["weight_decay"],
            )


@compilable
def schedulefree_update(
    params: list[Tensor],
    grads: list[Tensor],
    last: list[Tensor],
    second: list[Tensor],
    *,
    w2: Number,
    eps: Number,
    step_size: Number,
    weight_decay: Number,
    w_average: Number,
    step_of_y: Number,
    step_of_z: Number,
) -> None:
    """Apply the formula of :class:`ScheduleFreeAdamW` to y, z and v in place; ``w2`` is 1 - b2."""
    directions = scaled(params, weight_decay)
    first = [g.clone() for g in grads]  # the kernel writes to the tensors in place of first moments
    adam_(directions, grads, first, second, step_size=step_size, w1=KEEP, w2=w2, eps=eps)
    average_(params, last, directions, w_average=w_average, step_of_y=step_of_y, step_of_z=step_of_z)
