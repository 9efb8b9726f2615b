"""Loops of C: what they compute, how often they are compiled, and what happens without a compiler."""

import copy
import functools
import pickle
import shutil
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ultra_optim
from ultra_core.errors import UltraError
from ultra_optim import build
from ultra_optim.engine import c_backend, c_compiler, sizes
from ultra_optim.testing.updates import FLAGS, UPDATES, arguments, columns_of

NAMES = [
    *("adan", "ademamix", "adopt", "cautious_adamw", "gpa_adamw", "lamb", "lion", "mars_adamw", "prodigy"),
    *("radam", "schedulefree_adamw", "sgd_momentum", "sophia", "stable_adamw"),
]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)  # not c_backend.compiler_works(), or nothing would fail where that is wrong


@needs_compiler
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("update", UPDATES, ids=lambda update: update.__name__)
@torch.no_grad()
def test_a_loop_computes_what_the_operations_compute(update: Callable[..., Any], flag: bool) -> None:
    """In float64, at lengths that fill no vector, on several rows at once and on a piece of one."""
    names, numbers = arguments(update)
    numbers = {n: flag if n in FLAGS else v for n, v in numbers.items()}
    for dtype, bound in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        rows = [columns_of(names, size, dtype, seed) for seed, size in enumerate((1, 7, 64, 2051))]
        for some, start, stop in ((rows[1:], 0, None), (rows[:1], 0, None), (rows[3:], 1029, 2050)):
            expected, found = copy.deepcopy(some), copy.deepcopy(some)
            parts = [[t if t.ndim == 0 else t[start:stop] for t in row] for row in expected]
            sums = update(*(list(column) for column in zip(*parts, strict=True)), **numbers)
            signature = c_backend.signature_of(found[0])
            assert signature is not None
            results = c_backend.loop_for(update, signature, numbers)(found, start, stop)
            for a, b in zip(expected, found, strict=True):
                for x, y in zip(a, b, strict=True):
                    torch.testing.assert_close(y, x, rtol=bound, atol=bound)
            assert (sums is None) == (results is None)
            for x, y in zip(sums or (), results or (), strict=True):
                torch.testing.assert_close(y, x, rtol=100 * bound, atol=100 * bound)


def network() -> nn.Module:
    torch.manual_seed(0)
    last = nn.Linear(30, 20, dtype=torch.bfloat16)
    return nn.Sequential(nn.Linear(40, 30), nn.LayerNorm(30), nn.Linear(30, 20), last, nn.Linear(20, 1))


def backward(model: nn.Module, step: int) -> float:
    generator = torch.Generator().manual_seed(step)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
    return 1.0


def train(model: nn.Module, optimizer: Any, steps: range) -> list[Tensor]:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        backward(model, step)
        optimizer.step()
        if getattr(optimizer, "curvature_due", False):
            optimizer.curvature_step(functools.partial(backward, model, step))
    return [p.detach().clone() for p in model.parameters()]


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_training_is_the_same_and_resumes_to_the_bit_on_any_number_of_threads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine steps: RAdam divides by the second moment from the sixth on."""
    monkeypatch.setattr(sizes, "TORCH_SLICE", 256)
    monkeypatch.setattr(sizes, "C_SLICE", 256)
    plain, built = network(), []
    build_ = c_backend.build
    monkeypatch.setattr(c_backend, "_loops", {})
    monkeypatch.setattr(c_backend, "build", lambda source: built.append(source) or build_(source))
    expected = train(plain, build(name, plain, total_steps=20, compile=False), range(9))
    assert not built
    before, ends = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            model = network()
            optimizer = build(name, model, total_steps=20)
            train(model, optimizer, range(7))
            weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
            ends.append(train(model, optimizer, range(7, 9)))
            again = network()
            again.load_state_dict(weights)
            resumed = build(name, again, total_steps=20, compile=True)
            resumed.load_state_dict(state)
            ends.append(train(again, resumed, range(7, 9)))
    finally:
        torch.set_num_threads(before)
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True))
    for a, b in zip(ends[0], expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6 if a.dtype == torch.float32 else 2e-2, atol=1e-6)
    assert built
    assert len(set(built)) == len(built), "one for all shapes, rates and threads"


def test_threads_that_come_at_once_share_what_one_of_them_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    together, made = threading.Barrier(3, timeout=60), []
    monkeypatch.setattr(c_backend, "build", lambda source: made.append(source) or (lambda *_: None))

    def update(params: list[Tensor], grads: list[Tensor], *, lr: Any) -> None:
        params[0].sub_(grads[0] * lr)

    def call() -> None:
        together.wait()
        c_backend.loop_for(update, c_backend.Signature(torch.float32, (False, False)), {"lr": 0.5})

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


@needs_compiler
def test_a_compiler_that_is_there_works() -> None:
    assert c_backend.compiler_works()


@needs_compiler
def test_autograd_sees_that_parameters_have_moved() -> None:
    model = nn.Linear(4, 4, bias=False)
    optimizer = build("lion", model)
    x = torch.ones(2, 4, requires_grad=True)
    model(x).sum().backward()
    kept = model(x)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


@needs_compiler
def test_a_step_in_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_backend, "_loops", {})
    with torch.inference_mode():
        model = network()
        ends = train(model, build("lion", model), range(2))
    other = network()
    for a, b in zip(ends, train(other, build("lion", other), range(2)), strict=True):
        assert torch.equal(a, b)


@needs_compiler
def test_a_compiler_with_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = c_backend.find_compiler()
    monkeypatch.setenv("CC", f"{path} -O2")
    assert c_backend.find_compiler() == (path, "-O2")
    assert c_backend.compiler_works()


BETAS = dict.fromkeys(NAMES, (0.0, 0.0)) | {"adan": (0.0, 0.0, 0.0), "ademamix": (0.0, 0.0, 0.5)}
BETAS |= {"mars_adamw": (0.5, 0.0), "schedulefree_adamw": (0.5, 0.0)}


def moved(name: str, grads: list[float], compile: bool | None, **options: Any) -> Tensor:
    """Return where one weight of many is after these gradients of it."""
    p = nn.Parameter(torch.linspace(0.5, 1, 40).view(4, 10))
    optimizer = build(name, nn.ParameterList([p]), lr=1e-3, total_steps=20, compile=compile, **options)
    for step, g in enumerate(grads):
        p.grad = torch.full_like(p, 0.1 + 0.01 * step)
        p.grad[0, 3] = g
        optimizer.step()
        if getattr(optimizer, "curvature_due", False):
            p.grad = torch.full_like(p, 0.1)
            optimizer.curvature_step(lambda: 1.0)
            p.grad = torch.full_like(p, 0.1)
    return p.detach()


@needs_compiler
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sgd_momentum"])
def test_averages_that_forget_everything_and_gradients_whose_squares_overflow(name: str) -> None:
    falling = [1.0, 1e-4, 1e-6, 1e-4]
    options = {"betas": BETAS[name]} if name != "gpa_adamw" else {"betas": (0.5, 0.0)}
    torch.testing.assert_close(
        moved(name, falling, None, **options), moved(name, falling, False, **options), rtol=1e-5, atol=1e-6
    )
    large = [1.0, 3e19, 1.0, 1.0]
    ours, theirs = moved(name, large, None), moved(name, large, False)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)


@needs_compiler
def test_numbers_of_other_types_need_no_new_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_backend, "_loops", {})
    model = network()
    optimizer = build("lion", model, betas=(0, 0.99))
    for step in range(3):
        optimizer.param_groups[0]["lr"] = np.float32(0.1 / (1 + step))
        backward(model, step)
        optimizer.step()
    assert len(c_backend._loops) == 1


@needs_compiler
def test_gradients_that_are_not_what_their_memory_says() -> None:
    for lazy in (torch._neg_view(torch.ones(3)), torch._efficientzerotensor(3)):
        p = nn.Parameter(torch.ones(3))
        optimizer = build("lion", nn.ParameterList([p]), lr=0.1)
        p.grad = lazy
        optimizer.step()
        assert p.tolist() == pytest.approx([1.1 if lazy.is_neg() else 1.0] * 3)


@needs_compiler
@pytest.mark.parametrize("compile", [None, True, False])
def test_copies_are_compiled_as_the_original_is(compile: bool | None) -> None:
    optimizer = build("lion", network(), compile=compile)
    assert copy.deepcopy(optimizer).compiled is compile
    assert pickle.loads(pickle.dumps(optimizer)).compiled is compile


@needs_compiler
def test_a_group_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_backend, "_loops", {})
    p = nn.Parameter(torch.ones(3))
    optimizer = ultra_optim.Prodigy([{"params": [p], "compile": False}])
    for _ in range(2):
        p.grad = torch.ones(3)
        optimizer.step()
    assert not c_backend._loops
    optimizer.load_state_dict(ultra_optim.Prodigy([p]).state_dict())


@needs_compiler
def test_another_default_device() -> None:
    model, other = network(), network()
    with torch.device("meta"):
        optimizer = build("lamb", model)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    for p in other.parameters():
        p.grad = torch.ones_like(p)
    build("lamb", other).step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("broken", ["gcc '", "echo", "gcc -DROOT=", "gcc -Dsqrtf=fabsf"])
def test_compilers_that_do_not_fit_are_not_used(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", broken)
    model, plain = network(), network()
    ends = train(model, build("lion", model), range(2))
    expected = train(plain, build("lion", plain, compile=False), range(2))
    for a, b in zip(ends, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("arguments", ["-std=c89 -pedantic-errors", "-Wall -Wextra -Werror"])
def test_compilers_with_rules_of_their_own(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = c_backend.find_compiler()
    monkeypatch.setenv("CC", f"{path} {arguments}")
    assert c_backend.compiler_works()


@needs_compiler
def test_a_loop_that_cannot_be_compiled_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(c_backend, "_loops", {})
    assert c_backend.compiler_works()
    monkeypatch.setattr(c_compiler.tempfile, "tempdir", "/nowhere/at/all")
    model, plain = network(), network()
    ends = train(model, build("lion", model), range(3))
    expected = train(plain, build("lion", plain, compile=False), range(3))
    assert all(torch.equal(a, b) for a, b in zip(ends, expected, strict=True))
    assert len([r for r in caplog.records if "left to torch's operations" in r.message]) == 1


def test_what_has_no_loop() -> None:
    wide, narrow = torch.zeros(4), torch.zeros(4, dtype=torch.bfloat16)
    assert c_backend.signature_of([wide, wide, torch.zeros(())]) == (torch.float32, (False, False, True))
    assert c_backend.signature_of([torch.zeros(()), torch.zeros(())]) == (torch.float32, (False, False))
    assert c_backend.signature_of([narrow, narrow, wide]) is None
    assert c_backend.signature_of([wide, wide, wide.double()]) is None
    assert c_backend.signature_of([wide, wide, torch.zeros((), dtype=torch.float64)]) is not None


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(c_backend, "_loops", {})


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_torch_does_it() -> None:
    model, plain = network(), network()
    ends = train(model, build("lion", model), range(2))
    expected = train(plain, build("lion", plain, compile=False), range(2))
    assert all(torch.equal(a, b) for a, b in zip(ends, expected, strict=True))
    with pytest.raises(
        UltraError,
        match=r"needs a C compiler, and there is none .* variable CC \(where it is no-such-compiler\)",
    ):
        build("lion", network(), compile=True)


@pytest.mark.usefixtures("without_compiler")
def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    assert not c_backend.compiler_works()
    with pytest.raises(UltraError, match=r"needs a C compiler that works: .*false .* failed"):
        build("lion", network(), compile=True)


@pytest.mark.parametrize("name", ["adamw", "muon", "soap"])
def test_others_refuse(name: str) -> None:
    with pytest.raises(UltraError, match="compile"):
        build(name, network(), compile=True)
