"""A state dict is what the optimizer would have kept, or it is refused and nothing has changed."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_core.contracts import ParamInfo
from ultra_optim import build
from ultra_optim.contract.state_spec import COUNTERS
from ultra_optim.testing import check_optimizer
from ultra_optim.testing.subject import Bag, drive, gradients, seeded_net, take_step, train

NAMES = optimizers.names()

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("adamw", {"amsgrad": True}),
    ("adamw_8bit", {"min_8bit_size": 0}),
    ("adam_mini", {"block_rows": 2}),
    ("galore_adamw", {"max_dim": 5}),
    ("mars_adamw", {"optimize_1d": True}),
    ("prodigy", {"slice_p": 5}),
    ("psgd_kron", {"max_size_triangular": 4}),
    ("sgd_momentum", {"momentum": 0.0}),
    ("shampoo", {"max_preconditioner_dim": 5}),
    ("soap", {"max_precond_dim": 5}),
]


def of_all_kinds(dtype: torch.dtype) -> Bag:
    """A scalar, a vector, matrices, a fused one, experts, a convolution, an embedding."""
    shapes = [(), (5,), (6, 4), (3, 8), (9, 4), (2, 4, 6), (4, 6, 2), (4, 3, 2, 2), (12, 4)]
    infos = {
        "p4": ParamInfo(kind="matrix", row_blocks=(3, 3, 3)),
        "p6": ParamInfo(kind="expert", expert_dim=2),
        "p7": ParamInfo(kind="conv"),
        "p8": ParamInfo(kind="embedding"),
    }
    generator = torch.Generator().manual_seed(0)
    return Bag([torch.randn(s, generator=generator).to(dtype) for s in shapes], infos)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_what_is_declared_is_what_is_kept(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    bag = of_all_kinds(dtype)
    optimizer: Any = build(name, bag, total_steps=10, **options)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 2))
    for group in optimizer.param_groups:
        for p in group["params"]:
            kept = dict(optimizer.state[p])
            expected = optimizer.state_spec(group, p, kept)
            if not kept:
                assert (name, options) == ("sgd_momentum", {"momentum": 0.0})
                continue
            assert kept.keys() == expected.keys()
            for key, value in kept.items():
                if isinstance(value, Tensor):
                    assert (value.shape, value.dtype) == (expected[key].shape, expected[key].dtype), key
                else:
                    assert type(value) is type(expected[key]), key


def changed(state: Any, change: str) -> list[Any]:
    """Copies of a state dict, one for each place where this change is possible."""
    places = []
    for index, entry in state["state"].items():
        for key, value in entry.items():
            counts = key in COUNTERS
            tensor = isinstance(value, Tensor)
            if change == "0dim" and tensor and value.ndim and value.numel() > 1:
                new: Any = torch.ones((), dtype=value.dtype)
            elif change == "number" and tensor and not counts:
                new = 3
            elif change == "tensor" and not tensor:
                new = torch.tensor(float(value))
            elif change == "integers" and tensor and value.is_floating_point() and not counts:
                new = value.to(torch.int32)
            elif change == "sparse" and tensor and value.ndim and value.numel() > 1:
                new = value.to_sparse()
            elif change == "negative" and counts:
                new = -value
            elif change == "dropped" and len(entry) > 1:
                new = None
            else:
                continue
            places.append((index, key, new))
    found = []
    for index, key, new in places:
        other = copy.deepcopy(state)
        if new is None:
            del other["state"][index][key]
        else:
            other["state"][index][key] = new
        found.append(other)
    return found


def assert_refused(optimizer: Any, model: nn.Module, state: Any, message: str) -> None:
    before = copy.deepcopy((optimizer.state_dict(), model.state_dict()))
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert_equal(before, (optimizer.state_dict(), model.state_dict()))


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("change", ["0dim", "number", "tensor", "integers", "sparse", "negative", "dropped"])
@pytest.mark.parametrize("name", NAMES)
def test_malformed_state_is_refused(name: str, change: str) -> None:
    """Some of it would write to memory beside a tensor in the next step."""
    model = seeded_net(0, torch.float32)
    optimizer = build(name, model, total_steps=10)
    train(model, optimizer, 3)
    own = copy.deepcopy(optimizer.state_dict())
    states = changed(own, change)
    counts = any(key in COUNTERS for entry in own["state"].values() for key in entry)
    plain = any(not isinstance(v, Tensor) for entry in own["state"].values() for v in entry.values())
    expected = {"negative": counts, "tensor": plain, "dropped": len(next(iter(own["state"].values()))) > 1}
    assert bool(states) == expected.get(change, True)
    for state in states:
        assert_refused(optimizer, model, state, r"state dict; (expected|the state has all of) ")


@pytest.mark.parametrize("key", ["kind", "role", "row_blocks", "expert_dim"])
@pytest.mark.parametrize("name", NAMES)
def test_groups_that_say_less_or_more_are_refused(name: str, key: str) -> None:
    bag = of_all_kinds(torch.float32)
    optimizer = build(name, bag, total_steps=10)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 1))
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group.pop(key, None)
    assert_refused(optimizer, bag, state, f"the optimizer's group has {key} .*, the state dict's has none")
    bare = build(name, bag, total_steps=10)
    more = copy.deepcopy(bare.state_dict())
    for group in bare.param_groups:
        group.pop(key, None)
    assert_refused(bare, bag, more, f"the state dict's group has {key} .*, the optimizer's has none")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("prodigy", "d"),
        ("schedulefree_adamw", "weight_sum"),
        ("gpa_adamw", "train_mode"),
        ("sophia", "steps"),
    ],
)
def test_groups_without_their_counters_are_refused(name: str, key: str) -> None:
    model = seeded_net()
    optimizer = build(name, model, total_steps=10)
    train(model, optimizer, 2)
    state = copy.deepcopy(optimizer.state_dict())
    del state["param_groups"][0][key]
    assert_refused(optimizer, model, state, rf"lacks \['{key}'\]")


@pytest.mark.parametrize("name", NAMES)
def test_narrow_state_becomes_as_wide_as_what_is_kept(name: str) -> None:
    model, other = seeded_net(0, torch.float32), seeded_net(0, torch.float32)
    optimizer, second = (build(name, m, total_steps=10) for m in (model, other))
    train(model, optimizer, 2)
    state = copy.deepcopy(optimizer.state_dict())
    for entry in state["state"].values():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                entry[key] = value.half()
    second.load_state_dict(state)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        for key, value in optimizer.state[p].items():
            if isinstance(value, Tensor):
                assert second.state[q][key].dtype == value.dtype
    train(other, second, 1)


@pytest.mark.parametrize("name", NAMES)
def test_state_takes_the_memory_layout_of_its_parameter(name: str) -> None:
    """Kernels pair elements by their place; safetensors keeps only contiguous tensors."""

    def transposed() -> tuple[Bag, Any]:
        bag = Bag([torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).t()])
        return bag, build(name, bag, total_steps=10)

    (whole, first), (again, second) = transposed(), transposed()
    steps = [[g.t() for g in grads] for grads in gradients([torch.empty(6, 4)], 5)]
    drive(first, whole.tensors(), steps[:3])
    saved = copy.deepcopy(first.state_dict())
    for entry in saved["state"].values():
        entry.update(
            {
                k: v.clone(memory_format=torch.contiguous_format)
                for k, v in entry.items()
                if isinstance(v, Tensor)
            }
        )
    again.load_state_dict(whole.state_dict())
    second.load_state_dict(saved)
    for bag, optimizer in ((whole, first), (again, second)):
        drive(optimizer, bag.tensors(), steps[3:])
    assert torch.equal(whole.tensors()[0], again.tensors()[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_gradient_keeps_nothing(name: str) -> None:
    def half_trained() -> tuple[Any, Any]:
        model = seeded_net(0, torch.float32)
        optimizer = build(name, model, total_steps=10)
        model(torch.arange(11)).backward()
        model.norm.weight.grad = None
        model.down.weight.grad = None
        take_step(optimizer)
        return model, optimizer

    (_, optimizer), other = half_trained(), seeded_net(1, torch.float32)
    second = build(name, other, total_steps=10)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert_equal(optimizer.state_dict(), second.state_dict())
    assert not second.state.get(other.down.weight)


def moved(name: str, device: str) -> None:
    model = seeded_net(0, torch.float32)
    optimizer = build(name, model, total_steps=10)
    train(model, optimizer, 2)
    elsewhere = seeded_net(0, torch.float32).to(device)
    second = build(name, elsewhere, total_steps=10)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p, q in zip(model.parameters(), elsewhere.parameters(), strict=True):
        assert optimizer.state[p].keys() == second.state[q].keys()
        for key, value in optimizer.state[p].items():
            if isinstance(value, Tensor):
                there = second.state[q][key]
                assert there.device.type == device or (name == "adamw" and key == "step"), key
                assert (there.shape, there.dtype) == (value.shape, value.dtype)
    assert all(q.device.type == device for q in elsewhere.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_state_moves_to_the_device_of_the_parameters(name: str) -> None:
    moved(name, "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_state_moves_to_a_gpu(name: str) -> None:
    moved(name, "cuda")


def test_state_without_values_is_refused() -> None:
    model, there = seeded_net(), seeded_net().to("meta")
    optimizer, elsewhere = build("lion", model), build("lion", there)
    train(model, optimizer, 1)
    elsewhere.load_state_dict(optimizer.state_dict())
    assert_refused(optimizer, model, elsewhere.state_dict(), "exp_avg .* on the meta device")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("shampoo", {"precondition_frequency": 4, "start_preconditioning_step": 2}),
        ("soap", {"precondition_frequency": 4}),
        ("galore_adamw", {"update_interval": 4, "rank": 3}),
        ("apollo", {"update_interval": 4, "rank": 3}),
        ("apollo_mini", {"update_interval": 4}),
        ("apollo_8bit", {"update_interval": 4, "rank": 3}),
        ("psgd_kron", {"anneal_start": 2, "anneal_decay": 0.5}),
        ("sophia", {"update_period": 4}),
    ],
)
def test_a_run_saved_within_an_interval_resumes_over_the_next(name: str, options: dict[str, Any]) -> None:
    """With the intervals of the defaults a short run never comes to a second refresh."""
    check_optimizer(name, "O4a", options)


@pytest.mark.parametrize(
    ("name", "option"), [("muon", "ns_eps"), ("apollo", "proj_type"), ("apollo", "disable_nl")]
)
def test_groups_that_were_saved_before_an_option_existed_have_its_default(name: str, option: str) -> None:
    bag = of_all_kinds(torch.float32)
    optimizer = build(name, bag)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 2))
    saved = copy.deepcopy(optimizer.state_dict())
    for group in saved["param_groups"]:
        del group[option]
    default = optimizer.defaults[option]
    fresh = build(name, of_all_kinds(torch.float32))
    fresh.load_state_dict(saved)
    assert {group[option] for group in fresh.param_groups} == {default}
    assert all(option not in group for group in saved["param_groups"])
    for group in saved["param_groups"]:
        del group["optimizer"]
    with pytest.raises(ValueError, match=f"another optimizer's; it has no ..{option}"):
        fresh.load_state_dict(saved)
