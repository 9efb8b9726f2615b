"""Optimizers of torch with a typed signature and traits, as a plugin would register them."""

from typing import Any, ClassVar

import torch

from ultra_optim.contract.traits import OptimizerTraits


class Adam(torch.optim.Adam):
    traits: ClassVar = OptimizerTraits(
        decay="coupled", gradient_scale="invariant", state_per_element=2, imitates="adamw"
    )

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class Adagrad(torch.optim.Adagrad):
    traits: ClassVar = OptimizerTraits(
        decay="coupled",
        gradient_scale="invariant",
        state_per_element=1,
        state_at_construction=True,
        sparse_gradients=True,
    )

    def __init__(self, params: Any, lr: float = 1e-2, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class RMSprop(torch.optim.RMSprop):
    traits: ClassVar = OptimizerTraits(decay="coupled", gradient_scale="invariant", state_per_element=1)

    def __init__(self, params: Any, lr: float = 1e-2, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class NAdam(torch.optim.NAdam):
    traits: ClassVar = OptimizerTraits(
        decay="coupled", gradient_scale="invariant", state_per_element=2, exact_resume=False
    )

    def __init__(self, params: Any, lr: float = 2e-3, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class SGD(torch.optim.SGD):
    traits: ClassVar = OptimizerTraits(
        decay="coupled",
        gradient_scale="linear",
        state_per_element=1,
        sparse_gradients=True,
        imitates="torch.optim.SGD",
    )

    def __init__(
        self, params: Any, lr: float = 1e-3, *, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay)


class Adadelta(torch.optim.Adadelta):
    traits: ClassVar = OptimizerTraits(decay="coupled", state_per_element=2)

    def __init__(self, params: Any, lr: float = 1.0, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class Muon(torch.optim.Muon):
    traits: ClassVar = OptimizerTraits(dimensions=(2,))

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.1) -> None:
        super().__init__(params, lr, weight_decay)


class Rprop(torch.optim.Rprop):
    """The learning rate is the first step; bounds of steps far from it do not act."""

    traits: ClassVar = OptimizerTraits(
        decay="none", gradient_scale="invariant", own_schedule=True, initial_lr=True
    )
    variations: ClassVar = {"step_sizes": ({"step_sizes": (8e-3, 50.0)}, {"step_sizes": (1e-6, 0.011)})}

    def __init__(
        self, params: Any, lr: float = 1e-2, *, step_sizes: tuple[float, float] = (1e-6, 50.0)
    ) -> None:
        super().__init__(params, lr, step_sizes=step_sizes)


class Adafactor(torch.optim.Adafactor):
    traits: ClassVar = OptimizerTraits(whole_tensors=True, decay="inside", empty_parameters=False)

    def __init__(self, params: Any, lr: float = 1e-2, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class ClippedAdamW(torch.optim.AdamW):
    """Clips by the global norm in ``step``."""

    traits: ClassVar = OptimizerTraits(common_norm=True, changes_gradients=True)

    def __init__(
        self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0, max_norm: float = 1.0
    ) -> None:
        self.max_norm = max_norm
        super().__init__(params, lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for p in trained):
            raise ValueError("ClippedAdamW: sparse gradients are not supported")
        torch.nn.utils.clip_grad_norm_(trained, self.max_norm)
        super().step()
        return loss


CLASSES = (Adam, Adagrad, RMSprop, NAdam, SGD, Adadelta, Muon, Rprop, Adafactor, ClippedAdamW)
