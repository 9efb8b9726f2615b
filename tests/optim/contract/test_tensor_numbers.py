"""Tensors as learning rates move parameters as numbers do, in every method and on every path."""

import copy
import json
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_core.plugins.signatures import read_options
from ultra_optim import AdamW, Lion, MARSAdamW, Muon, build, param_groups
from ultra_optim.testing.subject import Bag, Subject, drive, gradients

SHAPES = ((6, 4), (5,))


def bag() -> Bag:
    return Bag([torch.linspace(-1, 1, 24).view(6, 4), torch.ones(5)])


def ends(name: str, lr: Any, schedule: Any = None, **options: Any) -> list[torch.Tensor]:
    model = bag()
    optimizer = Subject(name, optimizers.get(name), options).build(model, lr=lr)
    scheduler = schedule(optimizer) if schedule else None
    for grads in gradients(model.tensors(), 4):
        drive(optimizer, model.tensors(), [grads])
        if scheduler:
            scheduler.step()
    return model.tensors()


def the_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", optimizers.names())
def test_a_tensor_moves_parameters_as_its_value_does(name: str) -> None:
    rate = torch.tensor(0.0625)  # exact in float32
    assert the_same(ends(name, rate), ends(name, 0.0625))
    assert rate.item() == 0.0625


@pytest.mark.parametrize(
    "name", [name for name in optimizers.names() if "compile" in read_options(optimizers.get(name))]
)
@pytest.mark.parametrize("compile", [False, None])
def test_it_does_in_plain_and_in_compiled_updates(name: str, compile: bool | None) -> None:
    assert the_same(ends(name, torch.tensor(0.0625), compile=compile), ends(name, 0.0625, compile=compile))


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd_momentum"])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: LambdaLR(o, lambda step: 0.5**step),
        lambda o: CosineAnnealingLR(o, T_max=4),
        lambda o: OneCycleLR(o, 0.25, 4, cycle_momentum=False),
    ],
)
def test_schedulers_write_to_it(name: str, schedule: Any) -> None:
    with_tensor = ends(name, torch.tensor(0.0625, dtype=torch.float64), schedule)
    assert the_same(with_tensor, ends(name, 0.0625, schedule))


@pytest.mark.parametrize("decay_rule", ["plain", "cautious", "corrected"])
@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_weight_decay_takes_its_value(name: str, decay_rule: str) -> None:
    options = {"decay_rule": decay_rule, "weight_decay": 0.5}
    assert the_same(ends(name, torch.tensor(0.0625), **options), ends(name, 0.0625, **options))


@pytest.mark.parametrize("cls", [AdamW, Lion])
def test_the_group_keeps_the_tensor_and_its_owner_may_write_to_it(cls: Any) -> None:
    rate, p = torch.tensor(0.5), nn.Parameter(torch.zeros(3))
    optimizer = cls([p], rate, weight_decay=0.0)
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == pytest.approx([-0.5] * 3)
    assert optimizer.param_groups[0]["lr"] is rate
    rate.fill_(0.0)
    optimizer.step()
    assert p.tolist() == pytest.approx([-0.5] * 3)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.25)
    optimizer.step()
    assert p.tolist() == pytest.approx([-0.75] * 3)


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "prodigy"])
def test_state_dicts_hold_the_value_and_loading_keeps_the_tensor(name: str) -> None:
    first, second, whole = bag(), bag(), bag()
    saved, rate = torch.tensor(0.25), torch.tensor(0.5)
    cls = Subject(name, optimizers.get(name))
    optimizer, other, reference = (
        cls.build(first, lr=saved),
        cls.build(second, lr=rate),
        cls.build(whole, lr=0.25),
    )
    steps = gradients(first.tensors(), 4)
    drive(optimizer, first.tensors(), steps[:2])
    state = copy.deepcopy(optimizer.state_dict())
    assert {group["lr"] for group in state["param_groups"]} == {0.25}
    json.dumps(state["param_groups"])
    other.load_state_dict(state)
    second.load_state_dict(first.state_dict())
    assert all(group["lr"] is rate for group in other.param_groups)
    assert rate.item() == 0.25
    drive(other, second.tensors(), steps[2:])
    drive(reference, whole.tensors(), steps)
    assert the_same(second.tensors(), whole.tensors())


def test_groups_and_roles_may_have_their_own() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    rate = torch.tensor(0.125)
    optimizer = build("lion", model, lr=0.5, roles={"norms": {"lr": rate}})
    assert next(g["lr"] for g in optimizer.param_groups if g["role"] == "norms") is rate
    groups = param_groups(model, lr=torch.tensor(0.25))
    assert {float(group["lr"]) for group in Muon(groups).param_groups} == {0.25}
    vectors = MARSAdamW(model.parameters(), torch.tensor(0.5), lr_1d=0.25)
    json.dumps(vectors.state_dict()["param_groups"])


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (torch.tensor([1e-3, 1e-2]), r"AdamW: lr is a tensor of shape \(2,\); expected one number"),
        (torch.tensor(-1.0), r"AdamW: lr is -1.0; expected a number >= 0"),
        (torch.tensor(float("nan")), r"AdamW: lr is nan"),
    ],
)
def test_a_tensor_that_is_no_rate_is_refused(rate: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamW([nn.Parameter(torch.zeros(2))], rate)
    with pytest.raises(UltraError, match=message):
        build(AdamW, nn.Linear(2, 2), lr=rate)
    with pytest.raises(ValueError, match="eps is tensor"):
        AdamW([nn.Parameter(torch.zeros(2))], eps=torch.tensor(1e-8))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", optimizers.names())
def test_the_learning_rate_may_be_positional(name: str) -> None:
    cls, model = optimizers.get(name), bag()
    given = {"total_steps": 10, "model": model}
    own = {key: value for key, value in given.items() if key in read_options(cls)}
    optimizer = cls(param_groups(model), 0.125, **own)
    assert {group["lr"] for group in optimizer.param_groups} == {0.125}
    with pytest.raises(TypeError, match="positional argument"):
        cls(param_groups(model), 0.125, 0.9, **own)


@pytest.mark.parametrize("cls", [AdamW, Lion])
def test_copies_have_tensors_of_their_own(cls: Any) -> None:
    rate = torch.tensor(0.5)
    optimizer = cls([nn.Parameter(torch.zeros(3))], rate)
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        (p,) = made.param_groups[0]["params"]
        rate.fill_(0.0)
        p.grad = torch.ones(3)
        made.step()
        assert made.param_groups[0]["lr"].item() == 0.5
        assert p.tolist() == pytest.approx([-0.5] * 3)
        rate.fill_(0.5)
