"""Slices on threads of their own: the same numbers on any number of them."""

import importlib
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import base, build
from ultra_optim.engine import passes as slices
from ultra_optim.engine.passes import elementwise
from ultra_optim.engine.threads import each_alone, spread
from ultra_optim.families import factored

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torch use three threads."""
    monkeypatch.setattr(slices, "SLICE", 1 << 10)
    monkeypatch.setattr(slices, "LONG", 1 << 10)
    monkeypatch.setattr(base, "SLICE", 1 << 10)
    monkeypatch.setattr(factored, "PART", 1 << 10)
    monkeypatch.setattr(factored, "LONG", 1 << 14)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


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
    monkeypatch.setattr(slices, "spread", lambda work, items: [work(item) for item in reversed(items)])
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


def test_long_items_and_subclasses_are_left_to_the_calling_thread(threads: None) -> None:
    class Distributed(Tensor):
        pass

    def who(items: list[Tensor], limit: float) -> dict[int, bool]:
        done: list[tuple[int, bool]] = []
        here = threading.current_thread()
        each_alone(
            lambda t: done.append((t.numel(), threading.current_thread() is here)),
            items,
            lambda t: [t],
            limit,
        )
        assert len(done) == len(items)
        return dict(done)

    items = [torch.zeros(n) for n in (3, 9, 4)]
    assert who(items, limit=4) == {9: True, 3: False, 4: False}
    assert who([*items, torch.zeros(2).as_subclass(Distributed)], limit=4) == dict.fromkeys(
        (3, 9, 4, 2), True
    )
    assert list(who([torch.zeros(n, device="meta") for n in (3, 9, 4)], limit=4)) == [3, 9, 4]
    assert who([], limit=4) == {}


@pytest.mark.parametrize(
    ("name", "compile", "times"),
    [
        ("lion", False, 1),
        ("lion", None, 1),
        ("prodigy", False, 2),
        pytest.param("lamb", True, 2, marks=needs_compiler),
    ],
)
def test_the_work_of_all_groups_is_divided_once_for_each_look(
    name: str, compile: bool | None, times: int, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = []
    monkeypatch.setattr(
        slices,
        "spread",
        lambda work, items, here: divided.append(len(items)) or [work(item) for item in items],
    )
    model = nn.Sequential(nn.Embedding(30, 200), nn.Linear(200, 100), nn.LayerNorm(100), nn.Linear(100, 30))
    optimizer = build(name, model, total_steps=4, compile=compile)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert len(optimizer.param_groups) > 2
    assert len(divided) == times


def test_threads_do_not_spread_further(threads: None) -> None:
    inner = spread(lambda n: spread(lambda m: threading.current_thread().name, range(4)), range(6))
    assert all(len(set(names)) == 1 and names[0].startswith("ultra-optim") for names in inner)


def test_threads_share_the_work_and_leave_torch_as_it_was(threads: None) -> None:
    together = threading.Barrier(3, timeout=60)

    def work(number: int) -> tuple[int, int, str]:
        if number < 3:
            together.wait()  # nobody takes two of these
        return number, torch.get_num_threads(), threading.current_thread().name

    results = spread(work, range(20))
    assert [number for number, _, _ in results] == list(range(20))
    assert {own for _, own, _ in results} == {1}
    assert len({name for _, _, name in results}) == 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    assert spread(work, range(3, 5))[0][2] == threading.current_thread().name


def test_threads_write_to_state_made_in_inference_mode(threads: None) -> None:
    with torch.inference_mode():
        made = torch.zeros(9)
        spread(lambda part: part.add_(1), made.split(1))
    assert bool((made == 1).all())


def test_what_a_thread_raises_arrives(threads: None) -> None:
    p = nn.Parameter(torch.zeros(100_000))
    p.grad = torch.ones_like(p)

    def update(params: list[Tensor], grads: list[Tensor], *, fail: bool) -> None:
        if fail:
            raise ArithmeticError("no such number")
        torch._foreach_add_(params, grads)

    with pytest.raises(ArithmeticError, match="no such number"):
        elementwise(update, [p], fail=True)
    with torch.no_grad():
        elementwise(update, [p], fail=False)
    assert bool((p == 1).all())


def test_sums_over_slices(threads: None) -> None:
    params = [nn.Parameter(torch.ones(n)) for n in (100_000, 7, 3000)]
    for p in params:
        p.grad = torch.full_like(p, 2.0)
    sums = elementwise(lambda params, grads: [g.sum() for g in grads], params)
    assert [float(s) for s in sums] == [200_000.0, 14.0, 6000.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own(threads: None) -> None:
    assert spread(lambda n: n * n, range(50))[-1] == 49 * 49
    child = multiprocessing.get_context("fork").Process(target=_square)
    child.start()
    child.join(60)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert child.exitcode == 0


def _square() -> None:
    assert spread(lambda n: n * n, range(50))[-1] == 49 * 49
