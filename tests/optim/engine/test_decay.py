"""Rules of weight decay: what each takes off, in every optimizer that has the option."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ultra_core import optimizers
from ultra_core.contracts import ParamInfo
from ultra_core.plugins.signatures import read_options
from ultra_optim import AdamW, Lion, build
from ultra_optim.contract.traits import traits_of
from ultra_optim.engine.decay import decay_, decay_numbers
from ultra_optim.reference.adam_family import decayed
from ultra_optim.testing.subject import Head, take_step

RULES = ("plain", "cautious", "corrected")


class Weights(Head):
    """A matrix and a head; as a block it has small logits."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(4, 6, generator=generator, dtype=torch.float64))
        self.head = nn.Parameter(torch.randn(5, 6, generator=generator, dtype=torch.float64))

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"matrix": ParamInfo(kind="matrix"), "head": ParamInfo(kind="head")}


def follow(name: str, steps: int = 6, **options: Any) -> list[Tensor]:
    """Train with a falling rate; return the weights."""
    model = Weights()
    optimizer = build(name, model, lr=0.1, total_steps=20, **options)
    schedule = LambdaLR(optimizer, lambda step: 1 - step / 10)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step + 1)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        take_step(optimizer)
        schedule.step()
    return [p.detach() for p in model.parameters()]


def with_rules() -> list[str]:
    return [name for name in optimizers.names() if "decay_rule" in read_options(optimizers.get(name))]


def decoupled() -> list[str]:
    """Names of methods with decoupled decay whose learning rate a schedule may change."""
    found = {name: traits_of(optimizers.get(name)) for name in optimizers.names()}
    return [n for n, t in found.items() if t.decay == "decoupled" and not t.own_schedule and not t.one_lr]


def test_every_decoupled_optimizer_has_the_option() -> None:
    assert {"adamw", "lion", "muon", "radam"} <= set(decoupled())
    assert set(decoupled()) <= set(with_rules())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", decoupled())
def test_a_rule_takes_what_its_formula_says(name: str, rule: str) -> None:
    """The last of six steps against the same step without decay, from the same weights and state."""
    lr, wd = 0.1 * (1 - 5 / 10), 0.3
    model = Weights()
    optimizer = build(name, model, lr=0.1, total_steps=20, weight_decay=wd, decay_rule=rule)
    schedule = LambdaLR(optimizer, lambda step: 1 - step / 10)
    for step in range(6):
        before = [p.detach().clone() for p in model.parameters()]
        if step == 5:
            twin = Weights()
            with torch.no_grad():
                for p, b in zip(twin.parameters(), before, strict=True):
                    p.copy_(b)
            other = build(name, twin, lr=0.1, total_steps=20, weight_decay=wd, decay_rule=rule)
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            for group in other.param_groups:
                group["weight_decay"] = 0.0
        generator = torch.Generator().manual_seed(step + 1)
        for index, p in enumerate(model.parameters()):
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            if step == 5:
                list(twin.parameters())[index].grad = p.grad.clone()
        take_step(optimizer)
        schedule.step()
    take_step(other)
    for index, p in enumerate(model.parameters()):
        bare = list(twin.parameters())[index].detach()
        direction = (before[index] - bare) / lr
        its_rule = "plain" if rule == "corrected" and index == 1 else rule
        slow = lr
        if name == "stable_adamw":  # decays with its own rate of the tensor
            slow = lr * _slowness(optimizer, p)
        left = decayed(
            before[index], direction, lr=slow, weight_decay=wd, rule=its_rule, peak=0.1 * slow / lr
        )
        assert float((p.detach() - (bare + left - before[index])).abs().max()) < 1e-12


def _slowness(optimizer: Any, p: Tensor) -> float:
    v = optimizer.state[p]["exp_avg_sq"]
    assert p.grad is not None
    return min(1.0, 1 / float((p.grad**2 / v).mean().sqrt()))


def test_cautious_decay_leaves_alone_what_moves_away_from_zero() -> None:
    p, d = torch.tensor([1.0, 1.0, -1.0, 2.0]), torch.tensor([1.0, -1.0, -1.0, 0.0])
    decay_([p], [d], decay=0.5, cautious=True)
    assert p.tolist() == [0.5, 1.0, -0.5, 1.0]


def test_corrected_decay_falls_with_the_square_of_the_rate() -> None:
    group = {"lr": 0.2, "weight_decay": 0.5, "decay_rule": "corrected", "peak_lr": 0.4}
    assert decay_numbers(group) == {"decay": pytest.approx(0.2 * 0.5 * 0.5), "cautious": False}
    assert decay_numbers({**group, "kind": "head"})["decay"] == pytest.approx(0.2 * 0.5)
    higher = {**group, "lr": 0.8}
    assert decay_numbers(higher)["decay"] == pytest.approx(0.8 * 0.5)
    assert higher["peak_lr"] == 0.8
    assert decay_numbers({**group, "lr": 0.0, "peak_lr": 0.0})["decay"] == 0.0


def test_the_peak_is_known_before_the_warm_up_starts() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = Lion([p], lr=0.1, weight_decay=1.0, decay_rule="corrected")
    LambdaLR(optimizer, lambda step: (step + 1) / 10)
    p.grad = torch.zeros(2, 2)
    optimizer.step()
    assert float(p.detach()[0, 0]) == pytest.approx(1 - 0.01 * 0.1)
    assert optimizer.state_dict()["param_groups"][0]["peak_lr"] == 0.1


def test_adamw_has_its_weight_decay_back_after_the_step() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = AdamW([p], lr=0.1, weight_decay=0.5, decay_rule="cautious")
    p.grad = torch.ones(2, 2)
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    torch.testing.assert_close(p.detach(), torch.full((2, 2), 1 - 0.1 * 0.5 - 0.1))


def test_adamw_decays_by_its_rule_after_a_copy() -> None:
    """torch's hooks are not copied with an optimizer; without them its decay would be the plain one."""
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = copy.deepcopy(AdamW([p], lr=0.1, weight_decay=0.5, decay_rule="cautious"))
    (own,) = optimizer.param_groups[0]["params"]
    for _ in range(2):
        own.grad = -torch.ones(2, 2)
        optimizer.step()
    torch.testing.assert_close(own.detach(), torch.full((2, 2), 1.2))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step()
    torch.testing.assert_close(own.detach(), torch.full((2, 2), 1.3))


def test_adamw_as_a_closure_sees_it() -> None:
    """The decay comes after the closure, with its gradients."""
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = AdamW([p], lr=0.1, weight_decay=0.5, decay_rule="cautious")

    def closure() -> Tensor:
        p.grad = -torch.ones(2, 2)
        return p.detach().sum()

    assert float(optimizer.step(closure)) == 4.0
    torch.testing.assert_close(p.detach(), torch.full((2, 2), 1 + 0.1))


@pytest.mark.parametrize("name", with_rules())
def test_rules_lead_to_different_places(name: str) -> None:
    options = {"no_prox": True} if name == "adan" else {}
    ends = [
        torch.cat([p.flatten() for p in follow(name, weight_decay=0.3, decay_rule=rule, **options)])
        for rule in RULES
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert float((ends[one] - ends[other]).abs().max()) > 1e-6
