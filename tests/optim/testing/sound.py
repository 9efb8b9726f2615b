"""An optimizer without fault, from which those with one fault derive."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ultra_core.contracts import Range
from ultra_optim.contract.traits import OptimizerTraits

Rate = Annotated[float, Range(min=0)]


class Sound(torch.optim.Optimizer):
    """The sign of the momentum: no fault."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(
        gradient_scale="invariant", state_per_element=1, max_update_rms=1.0
    )

    def __init__(self, params: Any, *, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    raise ValueError("sparse gradients are not supported")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, p.grad, group)
        return loss

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        momentum = self.momentum(p).lerp_(grad.float() if p.dtype == torch.bfloat16 else grad, 0.1)
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(momentum.sign(), alpha=group["lr"])

    def momentum(self, p: Tensor) -> Tensor:
        if not self.state[p]:
            wide = torch.float32 if p.dtype == torch.bfloat16 else p.dtype
            self.state[p]["momentum"] = torch.zeros_like(p, dtype=wide)
        return self.state[p]["momentum"]
