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


CLASSES = (Adam, Adagrad, RMSprop, NAdam, SGD, Adadelta, Muon)
