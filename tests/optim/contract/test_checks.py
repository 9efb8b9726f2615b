"""What every optimizer of ours refuses, and that nothing has changed afterwards."""

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim import Lion, Muon, build
from ultra_optim.contract.traits import traits_of
from ultra_optim.testing.subject import Bag, seeded_net, train

NAMES = optimizers.names()


def make(name: str, params: Any, **options: Any) -> torch.optim.Optimizer:
    """An optimizer over bare parameters, which matrix optimizers are told are matrices."""
    groups = [{"params": [p] if isinstance(p, Tensor) else p, "kind": "matrix"} for p in params]
    if traits_of(optimizers.get(name)).needs_total_steps:
        options = {"total_steps": 10, **options}
    if traits_of(optimizers.get(name)).needs_logits:
        options = {"model": head([p for group in groups for p in group["params"]]), **options}
    return optimizers.get(name)(groups, **options)


def head(params: Sequence[Tensor]) -> nn.Module:
    """A module that says what its largest logit is, with those of the tensors that may be parameters."""
    module = Bag([])
    for index, p in enumerate(params):
        if isinstance(p, nn.Parameter):
            module.register_parameter(f"p{index}", p)
    return module


def matrix() -> nn.Parameter:
    return nn.Parameter(torch.ones(3, 4))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lr", [float("nan"), float("inf"), -1e-3, None, "1e-3", True])
def test_impossible_rates(name: str, lr: Any) -> None:
    with pytest.raises(ValueError, match="lr is"):
        make(name, [matrix()], lr=lr)
    optimizer = make(name, [matrix()])
    with pytest.raises(ValueError, match="lr is"):
        optimizer.add_param_group({"params": [matrix()], "kind": "matrix", "lr": lr})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", [n for n in NAMES if "betas" in read_options(optimizers.get(n))])
@pytest.mark.parametrize("betas", [(0.9, 1.0), (-0.1, 0.9), (0.9,), (0.9, float("nan")), 0.9])
def test_impossible_betas(name: str, betas: Any) -> None:
    with pytest.raises(ValueError, match="betas is"):
        make(name, [matrix()], betas=betas)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_parameters(name: str) -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        make(name, [])
    twice = matrix()
    with pytest.raises(ValueError, match=r"shape \(3, 4\) is listed twice"):
        make(name, [[twice, twice]])
    with pytest.raises(ValueError, match="more than one parameter group"):
        make(name, [twice, twice])
    with pytest.raises(ValueError, match="complex"):
        make(name, [nn.Parameter(torch.ones(3, 4, dtype=torch.complex64))])
    with pytest.raises(ValueError, match="non-leaf"):
        make(name, [matrix() * 2])


@pytest.mark.parametrize("name", NAMES)
def test_generators_of_parameters_are_read_once(name: str) -> None:
    cls = optimizers.get(name)
    if traits_of(cls).needs_total_steps:
        cls = functools.partial(cls, total_steps=10)
    tensors = [matrix(), matrix()]
    if traits_of(optimizers.get(name)).needs_logits:
        cls = functools.partial(cls, model=head(tensors))
    optimizer = cls([{"params": (p for p in tensors), "kind": "matrix"}])
    assert optimizer.param_groups[0]["params"] == tensors
    if not traits_of(optimizers.get(name)).matrix:
        assert cls(p for p in tensors).param_groups[0]["params"] == tensors
        named = cls([("a", tensors[0]), ("b", tensors[1])])
        assert named.param_groups[0]["param_names"] == ["a", "b"]


def assert_untouched(name: str, foreign: Any, message: str) -> None:
    assert_all_untouched(name, [foreign], message)


def assert_all_untouched(name: str, states: Iterable[Any], message: str) -> None:
    """Assert that each state is refused with a message, and changes neither weights nor the own state."""
    model = seeded_net()
    optimizer = build(name, model, total_steps=10)
    train(model, optimizer, 2)
    before, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    for state in states:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert after["param_groups"] == before["param_groups"]
        for index, entry in before["state"].items():
            assert entry.keys() == after["state"][index].keys()
            for key, value in entry.items():
                now = after["state"][index][key]
                assert torch.equal(now, value) if isinstance(value, Tensor) else now == value
        assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def trained_state(name: str, model: nn.Module | None = None) -> Any:
    model = model or seeded_net()
    optimizer = build(name, model, total_steps=10)
    train(model, optimizer, 2)
    return optimizer.state_dict()


@pytest.fixture(scope="module")
def trained_states() -> dict[str, Any]:
    """The state of every optimizer after training."""
    return {name: trained_state(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_another_optimizers_state_is_refused(name: str, trained_states: dict[str, Any]) -> None:
    others = [state for other, state in trained_states.items() if other != name]
    assert_all_untouched(name, others, "state dict is another optimizer's")


@pytest.mark.parametrize("name", NAMES)
def test_other_shapes_are_refused(name: str) -> None:
    state = trained_state(name)
    for entry in state["state"].values():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.ndim in (1, 2):
                entry[key] = value[..., 1:]
    assert_untouched(name, state, r"has shape .* in the state dict")


@pytest.mark.parametrize("name", NAMES)
def test_other_groups_are_refused(name: str) -> None:
    other = Bag([torch.ones(4, 3), torch.ones(4)])
    assert_untouched(name, build(name, other, total_steps=10).state_dict(), "the groups have")
    renamed = trained_state(name)
    renamed["param_groups"][0]["param_names"] = ["elsewhere.weight"]
    assert_untouched(name, renamed, "param_names is .* in the state dict .*elsewhere")
    negative = trained_state(name)
    negative["param_groups"][0]["lr"] = -1.0
    assert_untouched(name, negative, "lr is -1.0")
    orphan = trained_state(name)
    orphan["state"][99] = next(iter(orphan["state"].values()))
    assert_untouched(name, orphan, "none of its groups")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("foreign", [{}, [], None, {"state": {}}])
def test_what_is_no_state_dict_is_refused(name: str, foreign: Any) -> None:
    assert_untouched(name, foreign, "expected the keys 'state' and 'param_groups'")


@pytest.mark.parametrize("cls", [Lion, Muon])
def test_wide_state_survives_loading(cls: Any) -> None:
    """torch would cast it to the dtype of the parameter."""

    def bfloat16() -> torch.optim.Optimizer:
        p = nn.Parameter(torch.ones(3, 4, dtype=torch.bfloat16))
        p.grad = torch.full_like(p, 0.1)
        return cls([{"params": [p], "kind": "matrix"}])

    first, second = bfloat16(), bfloat16()
    first.step()
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.state.values(), second.state.values(), strict=True):
        for key, value in a.items():
            assert value.dtype == torch.float32
            assert b[key].dtype == torch.float32
            assert torch.equal(value, b[key])


def test_a_state_dict_from_before_the_first_step_loads() -> None:
    for name in NAMES:
        build(name, seeded_net(), total_steps=10).load_state_dict(
            build(name, seeded_net(), total_steps=10).state_dict()
        )
