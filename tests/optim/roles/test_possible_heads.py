"""Which Linear layers look like output heads, and the warning of matrix optimizers about them."""

import warnings
from typing import Any

import pytest
from torch import nn

from ultra_core import optimizers
from ultra_core.contracts import ParamInfo
from ultra_core.errors import UltraError
from ultra_optim import Muon, create, param_groups
from ultra_optim.contract.traits import traits_of


class Body(nn.Module):
    """Embedding, feed-forward network (its up-projection as wide as the vocabulary), and an output layer."""

    def __init__(self, output: nn.Module, vocabulary: int = 64, gated: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 8)
        self.down = nn.Linear(64, 8)
        self.up = nn.Linear(8, 128 if gated else 64)  # last Linear where there is no output layer
        self.output = output


def warned(model: nn.Module, name: str = "muon", **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        create(name, model, total_steps=10, **options)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Body(nn.Linear(8, 100), 100), "its 100 outputs are as many as an embedding has rows"),
        (Body(nn.Linear(8, 33)), "it is the last Linear, with 33 outputs for 8 inputs"),
        (Body(nn.Linear(256, 100), 100), "its 100 outputs are as many as an embedding has rows"),
    ],
)
def test_heads_are_named_with_the_reason(model: nn.Module, reason: str) -> None:
    (message,) = warned(model)
    assert message.startswith(
        f"Muon would orthogonalise 'output.weight', which looks like an output head: {reason}"
    )
    assert "kinds={'output.weight': 'head'}" in message


def tied() -> nn.Module:
    model = Body(nn.Linear(8, 100, bias=False), 100)
    model.output.weight = model.embed.weight
    return model


class Described(nn.Linear):
    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"weight": ParamInfo(kind="matrix"), "bias": ParamInfo(kind="vector")}


@pytest.mark.parametrize(
    "model",
    [
        Body(nn.Identity()),
        Body(nn.Identity(), gated=True),
        Body(nn.Sequential(nn.Linear(8, 200), nn.LayerNorm(200))),
        Body(nn.Linear(8, 32)),
        Body(nn.Linear(8, 2), 2),
        Body(Described(8, 100), 100),
        tied(),
        nn.TransformerEncoderLayer(8, 2, 64),
        nn.Sequential(nn.Embedding(64, 8), nn.TransformerEncoderLayer(8, 2, 64)),
    ],
)
def test_hidden_layers_are_no_heads(model: nn.Module) -> None:
    assert warned(model) == []


def test_pretrained_models_say_what_their_heads_are(pretrained: nn.Module) -> None:
    assert warned(pretrained) == []


@pytest.mark.parametrize(
    "name", [n for n in optimizers.names() if not traits_of(optimizers.get(n)).needs_logits]
)
def test_methods_without_matrices_do_not_warn(name: str) -> None:
    assert len(warned(Body(nn.Linear(8, 100), 100), name)) == traits_of(optimizers.get(name)).matrix


@pytest.mark.parametrize("kind", ["head", "matrix"])
def test_kinds_of_the_caller_end_the_warning(kind: str) -> None:
    model = Body(nn.Linear(8, 100), 100)
    assert warned(model, kinds={"output.weight": kind}) == []
    groups = param_groups(model, kinds={"output.weight": kind})
    assert [g["kind"] for g in groups if "output.weight" in g["param_names"]] == [kind]


def test_groups_warn_too_and_keep_no_trace() -> None:
    groups = param_groups([nn.Linear(2, 2), Body(nn.Linear(8, 100), 100)])
    with pytest.warns(
        UserWarning, match=r"orthogonalise '1.output.weight'.*kinds={'1.output.weight': 'head'}"
    ):
        optimizer = Muon(groups)
    assert not any("possible_heads" in group for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"outptu.weight": "head"}, "kinds names 'outptu.weight', .*Did you mean 'output.weight'"),
        ({"output.weight": "haed"}, "is 'haed'; kinds are"),
    ],
)
def test_unknown_names_and_kinds(kinds: dict[str, str], message: str) -> None:
    with pytest.raises(UltraError, match=message):
        create("muon", Body(nn.Linear(8, 100), 100), kinds=kinds)
