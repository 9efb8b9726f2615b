"""Parameters, named parameters and groups in the place of a model."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from ultra_core import optimizers
from ultra_core.errors import UltraError
from ultra_optim import AdamW, build, create, param_groups
from ultra_optim.contract.traits import OptimizerTraits, traits_of


def two() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


FORMS: list[Callable[[nn.Module], Any]] = [
    lambda model: list(model.parameters()),
    lambda model: model.parameters(),
    lambda model: model.named_parameters(),
    lambda model: [{"params": model.parameters()}],
    lambda model: ({"params": [p]} for p in model.parameters()),
    lambda model: [{"params": model.named_parameters(), "name": "all"}],
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name", [name for name in optimizers.names() if not traits_of(optimizers.get(name)).matrix]
)
def test_every_form_that_torch_takes(name: str, form: Callable[[nn.Module], Any]) -> None:
    model = two()
    optimizer = create(name, form(model), lr=0.125, total_steps=10)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert set(held) == set(model.parameters())
    assert {group["lr"] for group in optimizer.param_groups} == {0.125}


def test_groups_keep_their_options() -> None:
    first, second = two()
    groups = [
        {"params": first.parameters(), "lr": 0.5, "note": "mine"},
        {"params": second.parameters(), "weight_decay": 0.25},
    ]
    optimizer = create("lion", groups, lr=0.125, weight_decay=0.5)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.5, 0.5), (0.125, 0.25)]
    assert optimizer.param_groups[0]["note"] == "mine"


@pytest.mark.parametrize("name", [n for n in optimizers.names() if traits_of(optimizers.get(n)).matrix])
def test_methods_for_matrices_say_what_they_need(name: str) -> None:
    model = two()
    if traits_of(optimizers.get(name)).needs_logits:
        with pytest.raises(UltraError, match=r"model=model together with ultra_optim.param_groups"):
            create(name, param_groups(model))
        return
    with pytest.raises(
        UltraError, match=r"hidden matrices.*kind None. Pass ultra_optim.param_groups\(model\)"
    ):
        create(name, model.parameters())
    groups = [
        {"params": [model[0].weight], "kind": "matrix"},
        {"params": [model[0].bias, model[1].bias], "kind": "vector"},
        {"params": [model[1].weight], "kind": "head"},
    ]
    assert [g["kind"] for g in create(name, groups, total_steps=10).param_groups] == [
        "matrix",
        "vector",
        "head",
    ]
    assert create(name, param_groups(model), total_steps=10).param_groups


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ([], {}, "lion: there is no parameter: the list or iterator is empty"),
        ("weights", {}, "expected a model, parameters, .*got str"),
        (nn.Parameter(torch.ones(2)), {}, "expected a model, parameters, .*got Parameter"),
        ({"weight": torch.ones(2)}, {}, "expected a model, parameters, .*got dict"),
        (3, {}, "expected a model, parameters, .*got int"),
        ([3], {}, "item 0 is a int"),
        ([{"lr": 1.0}], {}, "item 0 is a dict"),
        ([{"params": [], "lr": -1.0}], {}, "group 0: lion: lr is -1.0; expected a number >= 0"),
        ([{"params": [], "weigth_decay": 1.0}], {}, "group 0: .* Did you mean 'weight_decay'"),
        ([nn.Parameter(torch.ones(2))], {"roles": {"norms": {}}}, "roles and kinds are those of a model"),
        ([nn.Linear(2, 2), nn.Parameter(torch.ones(2))], {}, "expected a module or a sequence of modules"),
    ],
)
def test_faults_are_said_clearly(params: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UltraError, match=message):
        create("lion", params, **options)


class ForMatricesOnly(torch.optim.Muon):
    traits: ClassVar = OptimizerTraits(dimensions=(2,))

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr)


def test_parameters_that_an_optimizer_does_not_take_are_named() -> None:
    with pytest.raises(
        UltraError, match=r"ForMatricesOnly takes parameters of 2 dimensions; .* shape \(4,\)"
    ):
        create(ForMatricesOnly, nn.Linear(3, 4))
    assert create(ForMatricesOnly, nn.Linear(3, 4, bias=False)).param_groups


def test_build_is_the_same_function() -> None:
    assert build is create
    assert isinstance(create(AdamW, two().parameters()), AdamW)
    assert create("lion", two(), 0.125).param_groups[0]["lr"] == 0.125
