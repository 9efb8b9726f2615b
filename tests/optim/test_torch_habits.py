"""What users of torch's optimizers do with an optimizer works with every one of ours."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR, StepLR
from torch.optim.swa_utils import SWALR, AveragedModel

import ultra_optim
from ultra_core import optimizers
from ultra_optim import base
from ultra_optim.contract.traits import traits_of

NAMES = [name for name in optimizers.names() if not traits_of(optimizers.get(name)).needs_logits]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2))


def step(net: nn.Module, optimizer: Any) -> None:
    optimizer.zero_grad()
    net(torch.ones(3, 6)).square().sum().backward()
    optimizer.step()
    if getattr(optimizer, "curvature_due", False):
        optimizer.curvature_step(lambda: float(net(torch.ones(3, 6)).square().mean().backward() is None))


@pytest.mark.parametrize("name", NAMES)
def test_rates_set_in_groups_and_groups_added_later(name: str) -> None:
    net, late = model(), nn.Linear(6, 3)
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    step(net, optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 2e-2
    step(net, optimizer)
    optimizer.add_param_group({"params": [late.weight], "kind": "matrix", "lr": 3e-2})
    before = late.weight.detach().clone()
    for _ in range(3):
        late.weight.grad = torch.ones(3, 6)
        optimizer.step()
        if getattr(optimizer, "curvature_due", False):
            optimizer.curvature_step(lambda: 1.0)
    assert optimizer.param_groups[-1]["lr"] == 3e-2
    assert not torch.equal(late.weight, before)


@pytest.mark.parametrize("name", NAMES)
def test_schedulers_with_positional_arguments(name: str) -> None:
    net = model()
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    parts = [LinearLR(optimizer, 0.5, 1.0, 2), CosineAnnealingLR(optimizer, 4, 1e-3)]
    schedules = [
        SequentialLR(optimizer, parts, [2]),
        StepLR(optimizer, 3, 0.5),
        ConstantLR(optimizer, 1.0, 1),
    ]
    rates = []
    for _ in range(6):
        step(net, optimizer)
        for schedule in schedules:
            schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) == 6
    assert all(bool(p.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_averages_of_weights(name: str) -> None:
    net = model()
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    averaged, schedule = AveragedModel(net), SWALR(optimizer, 5e-3, 2)
    for _ in range(4):
        step(net, optimizer)
        averaged.update_parameters(net)
        schedule.step()
    assert {group["lr"] for group in optimizer.param_groups} == {5e-3}
    assert not torch.equal(averaged.module[0].weight, net[0].weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_scaler_skips_steps_with_infinite_gradients(name: str) -> None:
    net = model()
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    before = [p.detach().clone() for p in net.parameters()]
    for factor in (float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale(factor * net(torch.ones(3, 6)).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if getattr(optimizer, "curvature_due", False):
            optimizer.curvature_step(lambda: float(net(torch.ones(3, 6)).mean().backward() is None))
        moved = [not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True)]
        assert any(moved) is False if factor == float("inf") else True
    assert scaler.get_scale() == 2.0
    assert any(moved)
    assert all(bool(p.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_states_by_names_of_parameters(name: str, flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    net = model()
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    for _ in range(3):
        step(net, optimizer)
    saved = copy.deepcopy(get_optimizer_state_dict(net, optimizer, options=options))
    other = copy.deepcopy(net)
    other.zero_grad()
    resumed = ultra_optim.create(name, other, lr=1e-2, total_steps=20)
    set_optimizer_state_dict(other, resumed, saved, options=options)
    for _ in range(3):
        step(net, optimizer)
        step(other, resumed)
    assert all(map(torch.equal, net.parameters(), other.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_as_learning_rate(name: str) -> None:
    nets = model(), model()
    rate = torch.tensor(0.25**3)
    optimizers_ = [
        ultra_optim.create(name, net, lr=lr, total_steps=20)
        for net, lr in zip(nets, (rate, 0.25**3), strict=True)
    ]
    for factor in (1.0, 0.5, 0.0):
        rate.fill_(factor * 0.25**3)
        for group in optimizers_[1].param_groups:
            group["lr"] = factor * 0.25**3
        for net, optimizer in zip(nets, optimizers_, strict=True):
            step(net, optimizer)
        assert all(map(torch.equal, nets[0].parameters(), nets[1].parameters()))
    assert not torch.equal(nets[0][0].weight, model()[0].weight)


def test_no_step_in_a_cuda_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    optimizer = ultra_optim.create("lion", net, lr=1e-2)
    monkeypatch.setattr(base, "in_cuda_graph", lambda devices: devices == {"cpu"})
    with pytest.raises(RuntimeError, match="call step\\(\\) after the replay"):
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_hooks_and_text(name: str) -> None:
    net, calls = model(), []
    optimizer = ultra_optim.create(name, net, lr=1e-2, total_steps=20)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    step(net, optimizer)
    assert calls == ["before", "after"]
    text = repr(optimizer)
    assert text.startswith(f"{type(optimizer).__name__} (")
    assert "lr: 0.01" in text


def test_completion_lists_the_public_names() -> None:
    assert {"AdamW", "Muon", "create", "build", "param_groups"} <= {*dir(ultra_optim)}
    assert all(hasattr(ultra_optim, name) for name in dir(ultra_optim))
    assert not {"Any", "FUNCTIONS", "TYPE_CHECKING", "annotations", "import_module"} & {*dir(ultra_optim)}


@pytest.mark.parametrize("cls", [ultra_optim.AdamW, ultra_optim.Lion, ultra_optim.Muon])
def test_a_module_is_no_list_of_parameters(cls: Any) -> None:
    with pytest.raises(TypeError, match=r"params is a module \(Sequential\); pass its parameters\(\), or"):
        cls(model(), 1e-3)
