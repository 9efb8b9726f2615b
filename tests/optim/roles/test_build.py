"""Optimizers by name."""

import pytest
import torch
from torch import nn

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_optim import AdamW, Lion, build
from ultra_optim.contract.traits import traits_of


@pytest.mark.parametrize("name", optimizers.names())
def test_builds_every_registered_name(name: str, bert: nn.Module) -> None:
    if traits_of(optimizers.get(name)).needs_logits:
        with pytest.raises(UltraError, match=r"no attention block whose logits .* Use muon"):
            build(name, bert, lr=1e-3)
        return
    optimizer = build(name, bert, lr=1e-3, roles={"norms": {"lr": 1e-4}}, total_steps=10)
    assert isinstance(optimizer, optimizers.get(name))
    rates = {group["role"]: group["lr"] for group in optimizer.param_groups}
    norms = pytest.approx(1e-7 if traits_of(optimizer).one_lr else 1e-4)
    assert rates == {"embeddings": 1e-3, "norms": norms, "attention": 1e-3, "other": 1e-3}


def test_a_class_and_its_defaults() -> None:
    optimizer = build(Lion, nn.Linear(3, 4), total_steps=10)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-4}


def test_norms_and_biases_do_not_decay_unless_asked() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decays = {
        tuple(g["param_names"]): g["weight_decay"] for g in build(AdamW, model, weight_decay=0.3).param_groups
    }
    assert decays == {("0.weight",): 0.3, ("0.bias",): 0.0, ("1.weight",): 0.0, ("1.bias",): 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "adamv"}, "unknown optimizer 'adamv'.*Did you mean .*'adamw'"),
        ({"name": "lion", "eps": 1e-8}, "lion has no option 'eps'"),
        ({"name": "lion", "weigth_decay": 1.0}, "Did you mean 'weight_decay'"),
        ({"name": "adamw", "lr": -1.0}, "adamw: lr is -1.0; expected a number >= 0"),
        ({"name": "adamw", "lr": float("nan")}, "adamw: lr is nan"),
        ({"name": "adamw", "roles": {"norms": {"wd": 0.1}}}, "role norms: adamw has no option 'wd'"),
        ({"name": "adamw", "roles": {"norms": {"betas": (0.9, 1.0)}}}, "role norms: adamw: betas is"),
        ({"name": "adamw", "roles": {"nroms": {"lr": 0.1}}}, "Did you mean 'norms'"),
    ],
)
def test_faults_are_said_clearly(arguments: dict, message: str) -> None:
    with pytest.raises(UltraError, match=message):
        build(**arguments, model=nn.Linear(3, 4))


def test_rates_of_roles_are_multipliers_where_the_method_finds_its_step_size() -> None:
    optimizer = build("prodigy", nn.Linear(3, 4), lr=0.5, roles={"other": {"lr": 0.1, "weight_decay": 0.2}})
    assert {group["lr"] for group in optimizer.param_groups} == {0.05}
    unset = build("prodigy", nn.Linear(3, 4), roles={"other": {"lr": 0.1}})
    assert {group["lr"] for group in unset.param_groups} == {0.1}


def test_a_third_partys_torch_optimizer_works() -> None:
    from typing import Annotated

    from ultra_core.contracts import Range

    class Plain(torch.optim.Optimizer):
        def __init__(self, params: object, *, lr: Annotated[float, Range(min=0)] = 0.1) -> None:
            super().__init__(params, {"lr": lr})

    optimizer = build(Plain, nn.Linear(3, 4), roles={"other": {"lr": 0.5}})
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
