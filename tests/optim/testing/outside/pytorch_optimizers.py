"""Optimizers of pytorch_optimizer with a typed signature and traits, as a plugin would register them."""

from typing import Any, ClassVar

import pytorch_optimizer

from ultra_optim.contract.traits import OptimizerTraits


class Lion(pytorch_optimizer.Lion):
    traits: ClassVar = OptimizerTraits(gradient_scale="invariant", state_per_element=1, imitates="lion")

    def __init__(self, params: Any, lr: float = 1e-4, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class AdaBelief(pytorch_optimizer.AdaBelief):
    traits: ClassVar = OptimizerTraits(
        gradient_scale="invariant", state_per_element=2, common_steps=True, eps=1e-8
    )

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class ADOPT(pytorch_optimizer.ADOPT):
    traits: ClassVar = OptimizerTraits(
        gradient_scale="invariant",
        state_per_element=2,
        idle_first_step=True,
        imitates="adopt",
        decay="coupled",
        changes_gradients=True,  # by the decay
        common_steps=True,
    )

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class Tiger(pytorch_optimizer.Tiger):
    traits: ClassVar = OptimizerTraits(gradient_scale="invariant", state_per_element=1)

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.01) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class LaProp(pytorch_optimizer.LaProp):
    traits: ClassVar = OptimizerTraits(
        gradient_scale="invariant", state_per_element=2, lr_in_momentum=True, common_steps=True, eps=1e-7
    )

    def __init__(self, params: Any, lr: float = 4e-4, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class StableAdamW(pytorch_optimizer.StableAdamW):
    traits: ClassVar = OptimizerTraits(
        gradient_scale="invariant",
        state_per_element=2,
        whole_tensors=True,
        imitates="stable_adamw",
        decay="inside",
        common_steps=True,
    )

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.01) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


class PNM(pytorch_optimizer.PNM):
    """Its second decay rate is 1, which other methods refuse."""

    traits: ClassVar = OptimizerTraits(common_steps=True)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 1.0),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas=betas, weight_decay=weight_decay)


class Lamb(pytorch_optimizer.Lamb):
    """Keeps norms in the dtype of the parameter."""

    traits: ClassVar = OptimizerTraits(
        whole_tensors=True, common_steps=True, decay="inside", state_dtype="any"
    )

    def __init__(self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)


CLASSES = (Lion, AdaBelief, ADOPT, Tiger, LaProp, StableAdamW, PNM, Lamb)
