"""Optimizers written for 0.1, as its README showed them, still work and are told the new paths."""

import sys
from importlib import import_module

import pytest
import torch

PATHS = {
    "compiled": "engine.compilation",
    "operations": "engine.operations",
    "spellings": "roles.option_aliases",
}

SIGN_DESCENT = """
import torch
from torch import Tensor
from ultra_optim.base import Optimizer
from ultra_optim.compiled import compilable
from ultra_optim.operations import add_


class SignDescent(Optimizer):
    state_names = frozenset()

    def __init__(self, params, *, lr: float = 1e-3, compile: bool | None = None) -> None:
        super().__init__(params, {"lr": lr}, compile=compile)

    def update(self, group: dict, params: list[Tensor]) -> None:
        self.later(sign_update, params, rate=group["lr"])


@compilable
def sign_update(params: list[Tensor], grads: list[Tensor], *, rate: float) -> None:
    add_(params, torch._foreach_sign(grads), -rate)
"""


@pytest.mark.parametrize("path", PATHS)
def test_an_older_path_leads_to_the_same_objects_and_warns(path, monkeypatch):
    monkeypatch.delitem(sys.modules, f"ultra_optim.{path}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"ultra_optim.{PATHS[path]} now"):
        older = import_module(f"ultra_optim.{path}")
    newer = import_module(f"ultra_optim.{PATHS[path]}")
    assert older.__all__
    for name in older.__all__:
        assert getattr(older, name) is getattr(newer, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compile", [None, False])
def test_the_optimizer_of_the_older_readme(compile):
    module: dict = {"__name__": "sign_descent"}
    exec(SIGN_DESCENT, module)
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([2.0, -0.1, 0.0])
    module["SignDescent"]([weight], lr=0.75, compile=compile).step()
    assert weight.tolist() == [0.25, 1.75, 1.0]
