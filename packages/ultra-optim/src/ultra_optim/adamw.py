"""AdamW: torch's own, fused by default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultra_optim.checks import (
    Beta,
    Checked,
    Epsilon,
    LearningRate,
    WeightDecay,
    check_hyperparameters,
    materialized,
    tensors_in,
)
from ultra_optim.traits import OptimizerTraits

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


class AdamW(Checked, torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), by ``torch.optim.AdamW``.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    p <- (1 - lr wd) p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Differs from the paper: the decay is multiplied by the learning rate, as in torch.
    State of low-precision parameters has their dtype, as in torch: keep weights in float32.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay rates of the first and second moment, torch's; (0.9, 0.98) is customary for masked
            language models.
        eps: added to the denominator.
        weight_decay: decoupled, multiplied by the learning rate.
        amsgrad: divide by the largest second moment so far.
        fused: one kernel for the whole update; None takes it where all parameters allow it.

    Raises:
        ValueError: a hyperparameter out of range, a parameter listed twice, a foreign state dict, a
            sparse gradient.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=2, max_update_rms=1.1
    )
    state_names: ClassVar[frozenset[str]] = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        *,
        lr: LearningRate = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: Epsilon = 1e-8,
        weight_decay: WeightDecay = 0.01,
        amsgrad: bool = False,
        fused: bool | None = None,
    ) -> None:
        params = materialized(params)
        if fused is None and can_fuse(tensors_in(params)):
            fused = True
        options: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
        }
        check_hyperparameters(AdamW, options)
        super().__init__(params, fused=fused, **options)
        self.watch_steps()

    def prepare(self) -> None:
        """Refuse sparse gradients; leave the fused kernel where it would be wrong."""
        super().prepare()
        for group in self.param_groups:
            if group["fused"] and not same_layout(group["params"]):
                group["fused"] = None


def can_fuse(tensors: Iterable[Tensor]) -> bool:
    """Whether torch has a fused kernel for all of these."""
    return all(t.is_floating_point() and t.device.type in FUSED_DEVICES for t in tensors)


def same_layout(params: Iterable[Tensor]) -> bool:
    """Whether every gradient lies in memory as its parameter does.

    torch's fused kernels for the CPU take that for granted and pair the wrong elements otherwise.
    """
    return all(p.grad is None or p.grad.stride() == p.stride() for p in params)
