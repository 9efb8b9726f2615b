"""AdamW with generalised primal averaging: an exponential average of the weights, with any schedule."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.checks import Beta, Epsilon, LearningRate, WeightDecay
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.engine.compilation import compilable
from ultra_optim.engine.operations import Number, scaled
from ultra_optim.families.adam import adam_, direction_numbers
from ultra_optim.families.averaging import AveragedOptimizer, average_, average_numbers


class GPAAdamW(AveragedOptimizer):
    """AdamW with generalised primal averaging (arXiv 2512.17131, "Smoothing DiLoCo with Primal Averaging").

    With the gradient g at y = mu_y x + (1 - mu_y) z::

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        d = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd y
        z <- z - lr d
        x <- mu_x x + (1 - mu_x) z

    The average x is evaluated and saved: call ``optimizer.eval()`` before and ``optimizer.train()`` after, as
    for the model; ultra's trainer does it. Any learning-rate schedule can be used.

    Differs from the paper: the default of lr is 1.0 in the authors' code, with which AdamW diverges; here it
    is 1e-3. A step with learning rate 0 is skipped and changes nothing. Weight decay is computed at y.

    State: 3n. Treats: everything.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        mu_y: weight of the average x in y, the point where gradients are computed.
        mu_x: decay rate of the average x, which spans about 1 / (1 - mu_x) updates.
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
        state_per_element=3,
        eval_weights=True,
    )
    reference: ClassVar[str] = "ultra_optim.reference.averaging:gpa_adamw"
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "z", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.0,
        mu_y: Annotated[float, Range(gt=0, max=1)] = 0.7,
        mu_x: Annotated[float, Range(min=0, lt=1)] = 0.9967,
        compile: bool | None = None,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "mu_y": mu_y, "mu_x": mu_x}, compile=compile)

    def interpolation_weight(self, group: dict[str, Any]) -> float:
        """Return mu_y."""
        return float(group["mu_y"])

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Update these parameters of the group."""
        if group["lr"] == 0:
            self.rest(params)
            return
        beta1, beta2 = group["betas"]
        for step, same in self.count(params).items():
            self.enqueue(
                gpa_update,
                same,
                self.base_iterates(same),
                self.zeros(same, "exp_avg"),
                self.zeros(same, "exp_avg_sq"),
                w1=1 - beta1,
                **direction_numbers(step, beta1=beta1, beta2=beta2, eps=group["eps"]),
                **average_numbers(group["lr"], group["mu_y"], 1 - group["mu_x"]),
                weight_decay=group["weight_decay"],
            )


@compilable
def gpa_update(
    params: list[Tensor],
    grads: list[Tensor],
    last: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    *,
    w1: Number,
    w2: Number,
    eps: Number,
    step_size: Number,
    weight_decay: Number,
    w_average: Number,
    step_of_y: Number,
    step_of_z: Number,
) -> None:
    """Apply the formula of :class:`GPAAdamW` to y, z, m and v in place; ``w1`` is 1 - b1, ``w2`` 1 - b2."""
    directions = scaled(params, weight_decay)
    adam_(directions, grads, first, second, step_size=step_size, w1=w1, w2=w2, eps=eps)
    average_(params, last, directions, w_average=w_average, step_of_y=step_of_y, step_of_z=step_of_z)
