"""The plain form of updates, which the passes over slices must equal."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_core import optimizers
from ultra_core.plugins.signatures import read_options
from ultra_optim import build
from ultra_optim.engine import sizes
from ultra_optim.engine.plain import Pass, apply, run_plain, wide_dtype
from ultra_optim.testing.subject import Head, take_step

NAMES = [name for name in optimizers.names() if "compile" in read_options(optimizers.get(name))]
WITH_SUMS = {"cautious_adamw", "lamb", "mars_adamw", "prodigy", "stable_adamw"}
"""Methods that add up elements: in slices, the order of their sums differs."""


class Mixed(Head):
    """Long and short tensors, of several dtypes, of no elements, and one that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = [(40, 30), (7,), (), (0,), (20, 20), (9, 8)]
        dtypes = [torch.float32, torch.float32, torch.float32, torch.float32, torch.bfloat16, torch.float64]
        tensors = [torch.randn(s, generator=generator).to(d) for s, d in zip(shapes, dtypes, strict=True)]
        self.tensors = nn.ParameterList([*tensors, torch.randn(30, 20, generator=generator).t()])


def trained(name: str, compile: bool | None) -> list[Tensor]:
    model = Mixed()
    optimizer = build(name, model, lr=1e-2, total_steps=20, weight_decay=0.1, compile=compile)
    for step in range(9):
        generator = torch.Generator().manual_seed(step)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        take_step(optimizer)
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("slice_of", [64, sizes.TORCH_SLICE])
@pytest.mark.parametrize("name", NAMES)
def test_slices_compute_what_the_plain_form_computes(
    name: str, slice_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, except for sums in slices. C loops are compared in test_c_backend."""
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(sizes, "TORCH_SLICE", slice_of)
    plain, sliced = trained(name, False), trained(name, None)
    for a, b in zip(plain, sliced, strict=True):
        if name in WITH_SUMS and slice_of == 64:
            torch.testing.assert_close(b, a, rtol=2e-6 if a.dtype == torch.float32 else 2e-2, atol=1e-6)
        else:
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_form_needs_no_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultra_optim.base.queued", None)
    monkeypatch.setattr("ultra_optim.base.run", None)
    trained(name, False)


@pytest.mark.parametrize("name", ["lion", "lamb"])
def test_the_plain_form_in_inference_mode_and_under_autocast(name: str) -> None:
    expected = trained(name, False)
    for context in (torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            found = trained(name, False)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    p = nn.Parameter(torch.randn(shape).to(dtype))
    p.grad = torch.randn(shape).to(dtype)
    return p


def test_low_precision_is_rounded_once() -> None:
    p = parameter(250, dtype=torch.bfloat16)
    start, grad = p.detach().float(), p.grad.float()

    def update(ps: list[Tensor], gs: list[Tensor]) -> None:
        assert {t.dtype for t in ps + gs} == {torch.float32}
        for _ in range(8):
            torch._foreach_add_(ps, gs, alpha=-1e-3)

    with torch.no_grad():
        apply(Pass.of(update, [p]))
    expected = start.clone()
    for _ in range(8):
        expected -= 1e-3 * grad
    assert torch.equal(p.detach(), expected.bfloat16())


def test_wide_dtype() -> None:
    pairs = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float32: torch.float32}
    pairs[torch.float64] = torch.float64
    assert all(wide_dtype(torch.empty(1, dtype=d)) == wide for d, wide in pairs.items())


def test_each_kind_of_memory_is_a_call_of_its_own() -> None:
    """One transposed tensor or one of a subclass does not keep the others from the fast kernels."""

    class Distributed(Tensor):
        pass

    params = [torch.full((2, 3), float(i)) for i in range(5)]
    params[1] = torch.full((3, 2), 1.0).t()
    params[3] = params[3].as_subclass(Distributed)
    calls: list[list[float]] = []

    def update(ps: list[Tensor], gs: list[Tensor]) -> list[Tensor]:
        calls.append([float(p[0, 0]) for p in ps])
        return [p.sum() for p in ps]

    sums = apply(Pass.over(update, params, [torch.zeros_like(p) for p in params]))
    assert calls == [[0.0, 2.0, 4.0], [1.0], [3.0]]
    assert [float(s) for s in sums] == [0.0, 6.0, 12.0, 18.0, 24.0]
    assert apply(Pass.over(update, [], [])) == []


def test_each_pass_is_sent_the_sums_of_the_one_before() -> None:
    params = [torch.ones(2), torch.ones(3)]
    received: list[Any] = []

    def add_up(ps: list[Tensor], gs: list[Tensor]) -> list[Tensor]:
        return [p.sum() for p in ps]

    def move(ps: list[Tensor], gs: list[Tensor], *, by: float) -> None:
        torch._foreach_add_(ps, by)

    def passes() -> Any:
        received.append([float(s) for s in (yield Pass.over(add_up, params, params))])
        received.append((yield Pass.over(move, params, params, by=1.0)))

    run_plain(passes())
    assert received == [[2.0, 3.0], []]
    assert params[1].tolist() == [2.0] * 3
