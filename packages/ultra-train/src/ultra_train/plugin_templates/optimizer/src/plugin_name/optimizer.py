"""The optimizer ``plugin_name``: momentum, scaled to a fixed length in every tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from ultra_core.contracts import Range
from ultra_core.plugins.signatures import require
from ultra_optim.contract.traits import OptimizerTraits


class PluginName(torch.optim.Optimizer):
    """Normalised momentum: every tensor moves by a root mean square of ``lr`` in each step.

    ``m <- momentum m + (1 - momentum) g;  p <- (1 - lr weight_decay) p - lr m / rms(m)``

    The state is kept in at least fp32. Tensors whose momentum is zero do not move.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate.
        momentum: decay rate of the average of gradients.
        weight_decay: decoupled weight decay, multiplied by the learning rate.

    Raises:
        ValueError: an option is out of range, or a gradient is sparse.

    Reference: Cutkosky, Mehta 2020, "Momentum Improves Normalized SGD", arXiv:2002.03305.
    Differs from the paper: each tensor is normalised by itself, to a root mean square of 1; weight decay.
    """

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=1, max_update_rms=1.0, whole_tensors=True
    )
    reference: ClassVar = "plugin_name.reference:normalised_momentum"

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: Annotated[float, Range(min=0)] = 1e-3,
        momentum: Annotated[float, Range(min=0, lt=1)] = 0.95,
        weight_decay: Annotated[float, Range(min=0)] = 0.0,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        require(PluginName, **options)
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and return the value of the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for _, p in pairs):
            raise ValueError("PluginName: sparse gradients are not supported")
        for group, p in pairs:
            self.update(p, p.grad, group)
        return loss

    def update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter and its momentum in place."""
        if not p.numel():
            return
        state = self.state[p]
        if not state:
            dtype = torch.promote_types(p.dtype, torch.float32)
            state["momentum"] = torch.zeros_like(p, dtype=dtype)
        m: Tensor = state["momentum"]
        m.lerp_(grad.to(m.dtype), 1 - group["momentum"])
        length = torch.linalg.vector_norm(m)
        direction = m * torch.where(length > 0, m.numel() ** 0.5 / length, 0.0)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(group["lr"] * direction)
