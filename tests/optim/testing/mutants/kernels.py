"""Options that choose a kernel, and ``maximize``, that change more than they say."""

from typing import Any, ClassVar

import attrs
from optim.testing.sound_methods import SoundAdamW, SoundLion
from torch import Tensor


class DecaysTwiceInAnotherPath(SoundAdamW):
    traits: ClassVar = attrs.evolve(SoundAdamW.traits, speed_only=frozenset({"foreach"}))

    def __init__(
        self, params: Any, lr: float = 1e-3, *, weight_decay: float = 0.01, foreach: bool = False
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.foreach = foreach

    def decay(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        for _ in range(1 + self.foreach):
            super().decay(p, state, group)


class AveragesBeforeItNegates(SoundLion):
    """The sign is that of the update, but the weights are decayed in the other direction as well."""

    def __init__(
        self, params: Any, lr: float = 1e-4, *, weight_decay: float = 0.0, maximize: bool = False
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.maximize = maximize

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": -group["lr"]} if self.maximize else group)


MUTANTS = [("O35a", DecaysTwiceInAnotherPath), ("O35b", AveragesBeforeItNegates)]
