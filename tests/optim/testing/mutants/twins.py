"""Twins that leave their method in size, in where ``eps`` is added, or after many steps."""

from typing import Any

from optim.testing.sound_methods import SoundAdafactor, SoundAdamW, SoundSGD
from torch import Tensor


class IsATenthFaster(SoundAdamW):
    """The direction is right and the length is not."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return 1.1 * super().direction(state, group)


class StopsCorrectingItsBias(SoundAdamW):
    """As if the second average were complete after a hundred steps."""

    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        corrected = {**state, "exp_avg_sq": state["exp_avg_sq"].clone()}
        if state["step"] > 100:
            corrected["exp_avg_sq"] *= 1 - group["betas"][1] ** state["step"]
        return super().direction(corrected, group)


class ForgetsItsSecondMoment(SoundAdamW):
    """The second moment begins again every ninety steps."""

    def average(self, state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        if state["step"] % 90 == 0:
            state["exp_avg_sq"].zero_()
        super().average(state, grad, group)


class AddsEpsBeforeTheCorrection(SoundAdamW):
    def direction(self, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        b1, b2 = group["betas"]
        root = (state["exp_avg_sq"].sqrt() + group["eps"]) / (1 - b2 ** state["step"]) ** 0.5
        return state["exp_avg"] / (1 - b1 ** state["step"]) / root


class LooksAheadInTheWrongOrder(SoundSGD):
    """Nesterov's step with momentum and gradient exchanged."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, group)
        p.sub_(grad, alpha=group["lr"] * group["momentum"])


class CountsFromTwo(SoundAdafactor):
    """The decay rate of the second moment is that of the step after."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        self.state[p].setdefault("step", 1)
        super().move(p, grad, group)


MUTANTS = [
    ("O1", IsATenthFaster),
    ("O1", StopsCorrectingItsBias),
    ("O1", ForgetsItsSecondMoment),
    ("O1", AddsEpsBeforeTheCorrection),
    ("O1", LooksAheadInTheWrongOrder),
    ("O1", CountsFromTwo),
]
