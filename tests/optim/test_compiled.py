"""Compiled updates: what they compute, and that they are compiled once."""

import copy
import shutil
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_core.errors import UltraError
from ultra_optim import build, compiled, slices

NAMES = [
    *("adan", "ademamix", "adopt", "cautious_adamw", "gpa_adamw", "lamb", "mars_adamw", "prodigy", "radam"),
    *("schedulefree_adamw", "sophia", "stable_adamw"),
]
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def network() -> nn.Module:
    torch.manual_seed(0)
    last = nn.Linear(30, 20, dtype=torch.bfloat16)
    return nn.Sequential(nn.Linear(40, 30), nn.LayerNorm(30), nn.Linear(30, 20), last)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def backward(model: nn.Module, step: int) -> float:
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step)).to(p.dtype)
    return 1.0


@needs_compiler
@compiles
@pytest.mark.parametrize("name", ["lion", "ademamix"])
def test_compiled_is_eager_and_resumes_and_is_compiled_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a schedule, two shapes, and a low precision, whose code is another."""
    monkeypatch.setattr(slices, "SLICE", 256)
    torch._dynamo.reset()
    compiled._function.cache_clear()
    eager = network()
    expected = train(eager, build(name, eager, total_steps=20), range(4))

    model = network()
    optimizer = build(name, model, total_steps=20, compile=True)
    train(model, optimizer, range(1))
    torch._dynamo.utils.counters.clear()
    train(model, optimizer, range(1, 2))
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    ends = train(model, optimizer, range(2, 4))
    again = network()
    again.load_state_dict(weights)
    resumed = build(name, again, total_steps=20, compile=True)
    resumed.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(train(again, resumed, range(2, 4)), ends, strict=True))
    assert not torch._dynamo.utils.counters["stats"].get("unique_graphs", 0)

    for a, b in zip(ends, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6 if a.dtype == torch.float32 else 1e-2, atol=1e-7)
    names = {p: n for n, p in model.named_parameters()}
    assert {names[p] for p in optimizer.state if p.numel() > 128} == {"0.weight", "2.weight", "3.weight"}


@compiles
@pytest.mark.parametrize("name", NAMES)
def test_updates_are_one_graph_of_numbers_that_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, but left to torch to run instead of generating code."""
    compile_, traced = torch.compile, []

    def trace(function: Any, **options: Any) -> Any:
        traced.append(function.__code__.co_name)
        return compile_(function, backend="eager", fullgraph=options["fullgraph"], dynamic=options["dynamic"])

    monkeypatch.setattr(torch, "compile", trace)
    monkeypatch.setattr(slices, "SLICE", 256)
    compiled._function.cache_clear()
    graphs = []
    ends = []
    for wanted in (False, True):
        model = network()
        optimizer = build(name, model, total_steps=20, compile=wanted)
        for step in range(9):  # RAdam divides by the second moment from the sixth on
            ends.append(train(model, optimizer, range(step, step + 1)))
            graphs.append(torch._dynamo.utils.counters["stats"].get("unique_graphs", 0))
            if getattr(optimizer, "curvature_due", False):
                optimizer.curvature_step(lambda step=step, model=model: backward(model, step))
    for eager, fast in zip(ends[:9], ends[9:], strict=True):
        for a, b in zip(eager, fast, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-6 if a.dtype == torch.float32 else 2e-2, atol=1e-6)
    assert graphs[-1] == graphs[-2]
    assert traced
    compiled._function.cache_clear()


def test_only_marked_updates_are_compiled_and_only_inside() -> None:
    @compiled.compilable
    def marked() -> None: ...

    def other() -> None: ...

    assert not compiled.is_compiled(marked)
    with compiled.compiling(True):
        assert compiled.is_compiled(marked)
        assert not compiled.is_compiled(other)
        with compiled.compiling(False):
            assert not compiled.is_compiled(marked)


def test_long_tensors_of_any_device_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device without memory stands for an accelerator."""
    calls: list[tuple[torch.device, torch.dtype, list[torch.Size]]] = []

    def function(update: Any, names: tuple[str, ...], fixed: Any, columns: int, on_cpu: bool) -> Any:
        assert (update.__name__, columns, on_cpu) == ("lion_update", 3, False)

        def call(values: Tensor, rows: list[tuple[Tensor, ...]]) -> None:
            assert values.shape == (len(names),)
            calls.extend((values.device, values.dtype, [t.shape for t in row]) for row in rows)

        return call

    monkeypatch.setattr(compiled, "_function", function)
    monkeypatch.setattr(slices, "SLICE", 256)
    with torch.device("meta"):
        model = nn.ParameterList([torch.empty(20, 10), torch.empty(30, 10).half(), torch.empty(10, 20).t()])
        model.append(torch.empty(4, 4))
        optimizer = build("lion", model, compile=True)
        for p in model:
            p.grad = torch.empty_like(p)
    optimizer.step()
    device, wide = torch.device("meta"), torch.float32
    assert calls == [(device, wide, [torch.Size([n])] * 3) for n in (200, 300)]


def test_rows_of_equal_dtypes_share_calls_and_threads_share_the_work() -> None:
    sizes = [5, 9, 7, 8, 6, 3, 4, 2, 1]
    rows = [(torch.zeros(10 * n), torch.zeros(10 * n)) for n in sizes]
    rows.insert(1, (torch.zeros(50, dtype=torch.bfloat16), torch.zeros(50)))
    for threads, counts in ((1, [1, 3, 3, 3]), (2, [1, 2, 2, 2, 3]), (3, [1, 3, 3, 3])):
        found = compiled.bunches(rows, threads)
        assert sorted(map(len, found)) == counts
        assert sorted(i for bunch in found for i in bunch) == list(range(10))
        assert [1] in found
        assert [rows[bunch[0]][0].numel() for bunch in found if bunch != [1]][:2] == [90, 80]


@needs_compiler
@compiles
def test_slices_of_one_tensor_and_sums_of_them_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @compiled.compilable
    def update(params: list[Tensor], grads: list[Tensor], *, rate: Any) -> list[Tensor]:
        for p, g in zip(params, grads, strict=True):
            p.sub_(rate * g)
        return [(p * g).sum() for p, g in zip(params, grads, strict=True)]

    monkeypatch.setattr(slices, "SLICE", 256)
    monkeypatch.setattr(slices, "LONG", 512)
    before = torch.get_num_threads()
    ends = {}
    try:
        for threads, wanted in ((1, False), (1, True), (2, True), (3, True)):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            params, grads = ([torch.randn(n) for n in (70, 4270, 1220)] for _ in range(2))
            with torch.no_grad(), compiled.compiling(wanted):
                sums = slices.over_slices(update, params, grads, rate=0.3)
            ends[threads, wanted] = [*params, *sums]
    finally:
        torch.set_num_threads(before)
    for a, b, c, d in zip(*ends.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert torch.equal(b, c)
        assert torch.equal(b, d)


@compiles
def test_threads_that_come_at_once_share_what_one_of_them_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    @compiled.compilable
    def update(params: list[Tensor], grads: list[Tensor], *, rate: Any) -> None:
        for p, g in zip(params, grads, strict=True):
            p.sub_(rate * g)

    made = []

    def slow(function: Any, **options: Any) -> Any:
        made.append(function.__code__.co_name)
        time.sleep(0.2)  # the others come meanwhile
        return function

    monkeypatch.setattr(torch, "compile", slow)
    monkeypatch.setattr(slices, "SLICE", 256)
    monkeypatch.setattr(slices, "LONG", 512)
    before = torch.get_num_threads()
    param, grad = torch.zeros(9000), torch.ones(9000)
    try:
        torch.set_num_threads(3)
        with torch.no_grad(), compiled.compiling(True):
            slices.over_slices(update, [param], [grad], rate=0.5)
    finally:
        torch.set_num_threads(before)
    assert made == ["update"]
    assert bool((param == -0.5).all())


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UltraError, match=r"needs a C\+\+ compiler, and no-such-compiler is not on the PATH"):
        build("lion", network(), compile=True)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd_momentum"])
def test_others_refuse(name: str) -> None:
    with pytest.raises(UltraError, match="compile"):
        build(name, network(), compile=True)
