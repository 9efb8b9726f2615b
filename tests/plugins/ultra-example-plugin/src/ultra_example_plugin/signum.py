"""The optimizer ``signum``."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import Tensor

from ultra_core.contracts import Range


class Signum(torch.optim.Optimizer):
    r"""Sign of the momentum: $m \leftarrow \beta m + (1-\beta) g$, $p \leftarrow (1-\eta\lambda) p - \eta \operatorname{sign} m$.

    Reference: Bernstein et al. 2018, https://arxiv.org/abs/1802.04434.
    Differs from the paper: decoupled weight decay.
    """  # noqa: E501

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: Annotated[float, Range(min=0)] = 1e-3,
        momentum: Annotated[float, Range(min=0, lt=1)] = 0.9,
        weight_decay: Annotated[float, Range(min=0)] = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(grad.is_sparse for grad in grads):
            raise ValueError("signum: sparse gradients are not supported")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(momentum.sign(), alpha=group["lr"])
        return loss
