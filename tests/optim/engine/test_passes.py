"""Passes over slices: the same numbers for any number of threads, and as in the plain form."""

import importlib
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.engine import passes, sizes
from ultra_optim.engine import threads as threading_module
from ultra_optim.engine.passes import queued, run
from ultra_optim.engine.plain import Pass, Update, single
from ultra_optim.families import factored

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torch use three threads."""
    monkeypatch.setattr(sizes, "TORCH_SLICE", 1 << 10)
    monkeypatch.setattr(sizes, "C_SLICE", 1 << 10)
    monkeypatch.setattr(sizes, "PIECE", 1 << 10)
    monkeypatch.setattr(sizes, "FACTORED_ALONE", 1 << 14)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def in_slices(
    update: Update, params: list[nn.Parameter], *state: list[Tensor], **numbers: Any
) -> list[Tensor]:
    return run(queued(single(Pass.of(update, params, *state, **numbers)), None))[0]


def trained(name: str) -> list[Tensor]:
    model = nn.Sequential(nn.Linear(300, 200), nn.LayerNorm(200), nn.Linear(200, 50))
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data.copy_(torch.randn(p.shape, generator=generator))
    optimizer = build(name, model, lr=1e-2, total_steps=4)
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    return [*(p.detach() for p in model.parameters()), *state]


def parameter(*shape: int) -> nn.Parameter:
    p = nn.Parameter(torch.randn(shape))
    p.grad = torch.randn(shape)
    return p


def test_slices_cover_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "TORCH_SLICE", 64)
    params = [parameter(n) for n in (3, 250, 100, 4, 1, 300)] + [
        parameter(4, 6),
        nn.Parameter(torch.randn(6, 4).t()),
    ]
    params[-1].grad = torch.randn(4, 6)
    before = [p.detach().clone() for p in params]
    state = [torch.zeros_like(p) for p in params]
    calls: list[list[int]] = []

    def update(ps: list[Tensor], gs: list[Tensor], ss: list[Tensor], *, lr: float) -> None:
        calls.append([p.numel() for p in ps])
        torch._foreach_add_(ps, gs, alpha=-lr)
        torch._foreach_add_(ss, gs)

    with torch.no_grad():
        in_slices(update, params, state, lr=0.5)
    for p, b, s in zip(params, before, state, strict=True):
        torch.testing.assert_close(p.detach(), b - 0.5 * p.grad)
        torch.testing.assert_close(s, p.grad)
    contiguous = [size for call in calls[:-1] for size in call]
    assert max(contiguous) <= 128
    assert len(calls) == 1 + 4 + 2 + 5 + 1
    assert calls[-1] == [24]


MATRICES = {
    "adafactor": "ultra_optim.adafactor.descend_",
    "adam_mini": "ultra_optim.adam_mini.adam_mini_update",
    "apollo": "ultra_optim.families.stacks.descend_",
    "apollo_mini": "ultra_optim.families.stacks.descend_",
    "came": "ultra_optim.came.descend_",
    "galore_adamw": "ultra_optim.families.stacks.descend_",
}
"""Names that take matrices as wholes, and the function that moves them or some of their rows."""


@pytest.mark.parametrize(
    "name", ["adan", "adamw_8bit", "lamb", "mars_adamw", "prodigy", "stable_adamw", *MATRICES]
)
def test_the_number_of_threads_changes_no_bit(name: str, threads: None) -> None:
    three = trained(name)
    for fewer in (2, 1):
        torch.set_num_threads(fewer)
        assert all(torch.equal(a, b) for a, b in zip(three, trained(name), strict=True))


@pytest.mark.parametrize("name", MATRICES)
def test_a_thread_takes_a_matrix_alone(name: str, threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, function = MATRICES[name].rpartition(".")
    original = getattr(importlib.import_module(module), function)
    rows: dict[int, list[int]] = {300: [], 200: []}

    def watched(weight: Tensor, *args: object, **kwargs: object) -> None:
        assert threading.current_thread().name.startswith("ultra-optim")
        assert torch.get_num_threads() == 1
        rows[weight.shape[-1]].append(weight.shape[-2])
        original(weight, *args, **kwargs)

    monkeypatch.setattr(MATRICES[name], watched)
    trained(name)
    assert sum(rows[300]) == 3 * 200, "all rows of the first matrix in every step, and none twice"
    assert sum(rows[200]) == 3 * 50
    if module != "ultra_optim.families.stacks":
        assert max(rows[300]) * 300 <= 1 << 11, "the long one is cut into rows for all threads"


@pytest.mark.parametrize("name", ["adafactor", "adam_mini", "came", "galore_adamw"])
def test_state_is_in_the_order_of_the_parameters(
    name: str, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the threads come to the last parameter first."""

    def backwards(work: Any, items: Any, **_: Any) -> list[Any]:
        return [work(item) for item in reversed(items)][::-1]

    monkeypatch.setattr(threading_module, "parallel_map", backwards)
    model = nn.Sequential(nn.Linear(9, 8), nn.LayerNorm(8), nn.Linear(8, 7))
    optimizer = build(name, model, lr=1e-2, total_steps=4)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert list(optimizer.state) == [p for group in optimizer.param_groups for p in group["params"]]


def test_a_long_sum_is_taken_in_one_order(threads: None) -> None:
    """torch's own sum of these numbers by three threads is another than by one."""
    row = torch.rand(1, 50_000, generator=torch.Generator().manual_seed(0))
    three = factored.inverse_roots(row, row)[0]
    torch.set_num_threads(1)
    assert torch.equal(three, factored.inverse_roots(row, row)[0])


@pytest.mark.parametrize(
    ("name", "compile", "times"),
    [
        ("lion", False, 0),
        ("lion", None, 1),
        ("prodigy", False, 0),
        ("prodigy", None, 2),
        pytest.param("lamb", True, 2, marks=needs_compiler),
    ],
)
def test_the_work_of_all_groups_is_divided_once_for_each_pass(
    name: str, compile: bool | None, times: int, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = []
    monkeypatch.setattr(
        passes,
        "parallel_map",
        lambda work, items, caller_works: divided.append(len(items)) or [work(item) for item in items],
    )
    model = nn.Sequential(nn.Embedding(30, 200), nn.Linear(200, 100), nn.LayerNorm(100), nn.Linear(100, 30))
    optimizer = build(name, model, total_steps=4, compile=compile)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert len(optimizer.param_groups) > 2
    assert len(divided) == times


def test_what_a_thread_raises_arrives(threads: None) -> None:
    p = nn.Parameter(torch.zeros(100_000))
    p.grad = torch.ones_like(p)

    def update(params: list[Tensor], grads: list[Tensor], *, fail: bool) -> None:
        if fail:
            raise ArithmeticError("no such number")
        torch._foreach_add_(params, grads)

    with pytest.raises(ArithmeticError, match="no such number"):
        in_slices(update, [p], fail=True)
    with torch.no_grad():
        in_slices(update, [p], fail=False)
    assert bool((p == 1).all())


def test_sums_over_slices(threads: None) -> None:
    params = [nn.Parameter(torch.ones(n)) for n in (100_000, 7, 3000)]
    for p in params:
        p.grad = torch.full_like(p, 2.0)
    sums = in_slices(lambda params, grads: [g.sum() for g in grads], params)
    assert [float(s) for s in sums] == [200_000.0, 14.0, 6000.0]
