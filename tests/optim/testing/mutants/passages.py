"""What is lost between two parts of a run: passes of curvature, copies, saved states, sets of weights."""

from collections.abc import Callable
from typing import Any

import torch
from optim.testing.sound_methods import SoundAdamW
from torch import Tensor

from ultra_optim import Prodigy, ScheduleFreeAdamW, Sophia
from ultra_optim.testing.subject import Bag


class AddsToTheGradientsOfTheStep(Sophia):
    """The pass of curvature does not clear the gradients before it."""

    def curvature_step(self, closure: Callable[[], float]) -> None:
        held = [(p, p.grad) for group in self.param_groups for p in group["params"]]

        def on_top() -> float:
            for p, grad in held:
                p.grad = grad
            return closure()

        super().curvature_step(on_top)


class LeavesItsGradients(Sophia):
    def curvature_step(self, closure: Callable[[], float]) -> None:
        held: list[tuple[Tensor, Any]] = []

        def watched() -> float:
            count = closure()
            held.extend((p, p.grad) for group in self.param_groups for p in group["params"])
            return count

        super().curvature_step(watched)
        for p, grad in held:
            p.grad = grad


class SamplesWithoutGradients(Sophia):
    def curvature_step(self, closure: Callable[[], float]) -> None:
        super().curvature_step(torch.no_grad()(closure))


class SamplesTwice(Sophia):
    def curvature_step(self, closure: Callable[[], float]) -> None:
        closure()
        super().curvature_step(closure)


class CountsUnderAnotherName(SoundAdamW):
    """A tensor that is not called ``step`` gets the dtype of the parameter when it is loaded."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, group)
        self.state[p]["t"] = torch.tensor(float(self.state[p]["step"]))


class SharesItsStateWithCopies(SoundAdamW):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        (bag,) = (value for value in memo.values() if isinstance(value, Bag))
        twin = type(self)(bag.tensors())
        theirs = [p for group in self.param_groups for p in group["params"]]
        twin.state.update((p, self.state[q]) for p, q in zip(bag.tensors(), theirs, strict=True))
        return twin


class EvaluatesByItsDefaults(ScheduleFreeAdamW):
    """``eval()`` takes the weight of the average from the defaults of the class."""

    def eval(self) -> None:
        own = [group["betas"] for group in self.param_groups]
        for group in self.param_groups:
            group["betas"] = (0.9, 0.999)
        super().eval()
        for group, betas in zip(self.param_groups, own, strict=True):
            group["betas"] = betas


class LosesItsDistance(Prodigy):
    """The distance is estimated anew after loading."""

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["d"] = group["d0"]


MUTANTS = [
    ("O34b", AddsToTheGradientsOfTheStep),
    ("O34b", LeavesItsGradients),
    ("O34b", SamplesWithoutGradients),
    ("O34b", SamplesTwice),
    ("O28", CountsUnderAnotherName),
    ("O30", SharesItsStateWithCopies),
    ("O18", EvaluatesByItsDefaults),
    ("O4a", LosesItsDistance),
]
