"""Optimizers with one fault each: the kit must find it, and by the right rule."""

from typing import Any, ClassVar

import pytest
import torch
from optim.testing.sound import Rate, Sound
from optim.testing.test_mutants import MUTANTS
from torch import Tensor, nn

from ultra_core.errors import UltraError
from ultra_optim import ScheduleFreeAdamW
from ultra_optim.contract.traits import OptimizerTraits
from ultra_optim.testing import RULES, cases, check_optimizer


class NeedsAnOption(Sound):
    def __init__(self, params: Any, *, width: int, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)


class ForgetsItsState(Sound):
    """The momentum is an attribute, which no state dict holds."""

    def momentum(self, p: Tensor) -> Tensor:
        return self.__dict__.setdefault("momenta", {}).setdefault(p, torch.zeros_like(p))


class KeepsObjects(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, group)
        self.state[p]["projector"] = object()


class SkipsVectors(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.ndim > 1:
            super().move(p, grad, group)


class LeavesZerosAtZero(Sound):
    """LAMB with |p| clamped from below."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        before = p.clone()
        super().move(p, grad, group)
        if p.ndim == 2:
            p.copy_(before + (p - before) * float(before.norm().clamp_min(1e-12)))


class AdamWInDisguise(torch.optim.AdamW):
    """Another name, the same update."""

    def __init__(self, params: Any, *, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)


class AdamWCopied(Sound):
    """AdamW without deriving from it."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
        state["t"] += 1
        m, v = state["m"].lerp_(grad, 0.1), state["v"].lerp_(grad.square(), 0.001)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        root = (v / (1 - 0.999 ** state["t"])).sqrt() + 1e-8
        p.sub_(m / (1 - 0.9 ** state["t"]) / root, alpha=group["lr"])


class ClaimsToFollowAdamW(Sound):
    """Its path is not AdamW's with rounded state."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(imitates="adamw")


class WritesGradients(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        grad.mul_(0.5)
        super().move(p, grad, group)


class ReplacesParameters(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, group)
        p.data = p.data.clone()


class ClaimsToBeOrthogonal(Sound):
    """The signs of an ill-conditioned matrix are no orthogonal one."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(max_condition=2.0)


class ReadsTheRateOnce(Sound):
    def __init__(self, params: Any, *, lr: Rate = 1e-3, weight_decay: Rate = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.rate = lr

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": self.rate})


class DecaysEverything(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "weight_decay": max(g["weight_decay"] for g in self.param_groups)})


class DecaysWithoutTheRate(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        p.mul_(1 - group["weight_decay"])
        super().move(p, grad, {**group, "weight_decay": 0.0})


class FeelsTheScale(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        momentum = self.momentum(p).lerp_(grad.to(self.momentum(p).dtype), 0.1)
        p.sub_(torch.tanh(momentum), alpha=group["lr"])


class SquaresTheRate(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": 100 * group["lr"] ** 2})


class TooLarge(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad, {**group, "lr": 3 * group["lr"]})


class ClimbsUp(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, -grad, group)


class CountsIdleSteps(Sound):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for state in self.state.values():
            state["count"] = state.get("count", 0) + 1
        return loss


class SharesAcrossTheGroup(Sound):
    """A scale that is taken over the group, so that it depends on who else is in it."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        total = sum(float(q.grad.norm()) for q in group["params"] if q.grad is not None)
        super().move(p, grad, {**group, "lr": group["lr"] * min(1.0, 1 / (1 + total))})


class DividesByTheGradient(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        p.sub_(grad / grad.abs(), alpha=group["lr"])


class IgnoresTheClosure(Sound):
    def step(self, closure: Any = None) -> Any:
        return super().step() if closure is None else None


class AssumesOneGroup(Sound):
    """Every group after the first is moved half as far."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        later = group is not self.param_groups[0]
        super().move(p, grad, {**group, "lr": group["lr"] * (0.5 if later else 1.0)})


class AssumesContiguity(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        flat = torch.as_strided(p, (p.numel(),), (1,))
        flat.sub_(
            self.momentum(p).lerp_(grad.to(self.momentum(p).dtype), 0.1).flatten().sign(), alpha=group["lr"]
        )


class KeepsMoreThanItSays(Sound):
    def momentum(self, p: Tensor) -> Tensor:
        momentum = super().momentum(p)
        self.state[p].setdefault("shadow", torch.zeros_like(p))
        return momentum


class MixesElements(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        super().move(p, grad - grad.mean(), group)


class SkipsBfloat16(Sound):
    """As torch's fused SGD does on a CPU."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.dtype != torch.bfloat16:
            super().move(p, grad, group)


class AcceptsSparse(Sound):
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    p.grad = p.grad.to_dense()
        return super().step(closure)


class MatrixWithoutQuestions(Sound):
    traits: ClassVar[OptimizerTraits] = OptimizerTraits(matrix=True)


class GivesStateToAll(Sound):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.momentum(p)
        return super().step(closure)


class PutsOrderIntoTheRate(Sound):
    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        place = [q is p for g in self.param_groups for q in g["params"]].index(True)
        super().move(p, grad, {**group, "lr": group["lr"] * (1 + place)})


class SwapsNothing(Sound):
    """Two sets of weights are claimed; there is one."""

    traits: ClassVar[OptimizerTraits] = OptimizerTraits(eval_weights=True)

    def eval(self) -> None:
        pass


class LosesTheWayBack(ScheduleFreeAdamW):
    """Trains on from the average."""

    def train(self, mode: bool = True) -> None:
        for group in self.param_groups:
            group["train_mode"] = mode


class ForgetsTheLargestRate(Sound):
    """It shows only where a schedule has lowered the rate before the state is saved."""

    def move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        peaks = self.__dict__.setdefault("peaks", {})
        peaks[p] = max(peaks.get(p, 0.0), group["lr"])
        super().move(p, grad, {**group, "lr": group["lr"] ** 2 / peaks[p]})


class CountsARefusedStep(Sound):
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
        return super().step(closure)


class WritesStateOfARefusedStep(Sound):
    def step(self, closure: Any = None) -> Any:
        for state in self.state.values():
            state["momentum"].mul_(0.9)
        return super().step(closure)


FAULTS: list[tuple[str, type[torch.optim.Optimizer]]] = [
    ("C1", NeedsAnOption),
    ("O0", MatrixWithoutQuestions),
    ("O1", AdamWCopied),
    ("O1", ClaimsToFollowAdamW),
    ("O2a", SkipsVectors),
    ("O2a", LeavesZerosAtZero),
    ("O2b", ClimbsUp),
    ("O3", FeelsTheScale),
    ("O4a", ForgetsItsState),
    ("O4a", ForgetsTheLargestRate),
    ("O4b", KeepsObjects),
    ("O5", SquaresTheRate),
    ("O6", DecaysEverything),
    ("O6", DecaysWithoutTheRate),
    ("O7", SharesAcrossTheGroup),
    ("O8a", PutsOrderIntoTheRate),
    ("O8b", DividesByTheGradient),
    ("O8b", GivesStateToAll),
    ("O8c", AcceptsSparse),
    ("O8c", CountsARefusedStep),
    ("O8c", WritesStateOfARefusedStep),
    ("O9", MixesElements),
    ("O10a", WritesGradients),
    ("O10a", ReplacesParameters),
    ("O10b", IgnoresTheClosure),
    ("O11", AssumesContiguity),
    ("O11", AssumesOneGroup),
    ("O12", SkipsBfloat16),
    ("O13", TooLarge),
    ("O14", ClaimsToBeOrthogonal),
    ("O15", ReadsTheRateOnce),
    ("O16", KeepsMoreThanItSays),
    ("O17", CountsIdleSteps),
    ("O18", SwapsNothing),
    ("O18", LosesTheWayBack),
]


@pytest.mark.parametrize("rule", [rule for _, rule in cases([Sound])])
def test_a_sound_optimizer_passes(rule: str) -> None:
    check_optimizer(Sound, rule)


@pytest.mark.parametrize(("rule", "cls"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_every_fault_is_found(rule: str, cls: type[torch.optim.Optimizer]) -> None:
    with pytest.raises(AssertionError, match=f"{cls.__name__} breaks rule {rule}: "):
        check_optimizer(cls, rule)


def test_a_subclass_of_adamw_that_changes_nothing_is_found() -> None:
    with pytest.raises(AssertionError, match=r"(?i)its updates are those of adamw"):
        check_optimizer(AdamWInDisguise, "O1")


def test_every_rule_has_a_fault() -> None:
    assert {rule for rule, *_ in [*FAULTS, *MUTANTS]} == RULES.keys()


def test_rules_state_themselves() -> None:
    for rule in RULES.values():
        assert rule.statement.endswith(".")
        assert rule.fix, f"{rule.id} does not say what to do"


def test_all_rules_at_once_stop_at_the_first_broken_one() -> None:
    with pytest.raises(AssertionError, match="SkipsVectors breaks rule O2a"):
        check_optimizer(SkipsVectors)


def test_unknown_names() -> None:
    with pytest.raises(UltraError, match="unknown rule 'O99'"):
        check_optimizer("adamw", "O99")
    with pytest.raises(UltraError, match="unknown optimizer 'adamv'"):
        check_optimizer("adamv")


def test_cases_follow_the_traits() -> None:
    assert ("muon", "O0") in cases(["muon"])
    assert ("adamw", "O0") not in cases(["adamw"])
    assert ("lamb", "O13") not in cases(["lamb"])
    assert {name for name, _ in cases()} >= {"adamw", "lion", "lamb", "muon", "sgd_momentum"}


def test_options_reach_the_optimizer() -> None:
    check_optimizer("muon", "O5", options={"adjust_lr_fn": "original"})
    assert isinstance(nn.Linear(1, 1), nn.Module)
