"""The base of schedule-free and primal-averaging methods, which have three sequences of weights."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ultra_optim.base import Optimizer, wide_dtype
from ultra_optim.engine.operations import Number, add_, lerp_


class AveragedOptimizer(Optimizer):
    """An optimizer that steps ``z``, evaluates its average ``x``, and computes gradients at ``y`` in between.

    y = mu x + (1 - mu) z. During training the parameters are y, and z is state; :meth:`eval` writes x into
    the parameters and :meth:`train` writes y back. The mode is part of the state dict, so that weights and
    state that are saved together can be loaded together.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which starts in training mode."""
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("train_mode", True)

    @abc.abstractmethod
    def interpolation_weight(self, group: dict[str, Any]) -> float:
        """Return mu, the weight of x in y."""

    def prepare(self) -> None:
        """Check the gradients and the mode before anything is changed.

        Raises:
            RuntimeError: the parameters hold the average, at which no gradient may be computed.
        """
        super().prepare()
        if not all(group["train_mode"] for group in self.param_groups):
            raise RuntimeError(
                f"{type(self).__name__}: step() in evaluation mode; call train() before the forward of the "
                "next update, as model.train() is called"
            )

    def eval(self) -> None:
        """Write the average x into the parameters, for evaluation, saving and export."""
        self._switch(False, lambda mu: 1 - 1 / mu)

    def train(self, mode: bool = True) -> None:
        """Write y back into the parameters; ``train(False)`` is :meth:`eval`."""
        if mode:
            self._switch(True, lambda mu: 1 - mu)
        else:
            self.eval()

    @torch.no_grad()
    def _switch(self, train_mode: bool, weight: Callable[[float], float]) -> None:
        for group in self.param_groups:
            if group["train_mode"] == train_mode:
                continue
            group["train_mode"] = train_mode
            weight_of_z = weight(self.interpolation_weight(group))
            for p in group["params"]:
                if p in self.state and "z" in self.state[p]:
                    z = self.state[p]["z"]
                    p.copy_(torch.lerp(p.to(z.dtype), z, weight_of_z))

    def base_iterates(self, params: Sequence[Tensor]) -> list[Tensor]:
        """Return z of every parameter in at least float32; it starts as the parameter itself."""
        for p in params:
            if "z" not in self.state[p]:
                self.state[p]["z"] = p.detach().to(wide_dtype(p), copy=True)
        return [self.state[p]["z"] for p in params]

    def rest(self, params: Sequence[Tensor]) -> None:
        """Give parameters their first state in an update at a learning rate of 0, which does nothing else.

        By such an update ``torch.distributed.checkpoint`` finds out what a flattened state consists of.
        """
        self.base_iterates(params)
        for name in sorted(self.state_names - {"step", "z"}):  # the same order in every process
            self.zeros(params, name)
        for p in params:
            self.state[p].setdefault("step", 0)


def average_numbers(lr: float, interpolation_weight: float, w_average: float) -> dict[str, float]:
    """Return the arguments of :func:`average_`.

    Args:
        lr: learning rate.
        interpolation_weight: mu.
        w_average: c, the weight of the new z in its average.
    """
    return {
        "w_average": w_average,
        "step_of_y": lr * (1 - interpolation_weight * (1 - w_average)),
        "step_of_z": lr,
    }


def average_(
    params: list[Tensor],
    last: list[Tensor],
    directions: tuple[Tensor, ...] | list[Tensor],
    *,
    w_average: Number,
    step_of_y: Number,
    step_of_z: Number,
) -> None:
    """Take the step z <- z - lr d and average it, in place; x is not stored.

    With x <- (1 - c) x + c z and y = mu x + (1 - mu) z this is
    y <- (1 - c) y + c z - lr (1 - mu (1 - c)) d, where z on the right is the one before the step.

    Args:
        params: y.
        last: z.
        directions: d.
        w_average: c.
        step_of_y: lr (1 - mu (1 - c)).
        step_of_z: lr.
    """
    lerp_(params, last, w_average)
    add_(params, directions, -step_of_y)
    add_(last, directions, -step_of_z)
