"""The walk over groups and the slices of the CPU path."""

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import base, build
from ultra_optim.base import batches, elementwise, wide_dtype
from ultra_optim.engine import passes as slices


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 64)


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    p = nn.Parameter(torch.randn(shape).to(dtype))
    p.grad = torch.randn(shape).to(dtype)
    return p


def test_slices_cover_everything_once() -> None:
    params = [parameter(n) for n in (3, 250, 100, 4, 1, 300)] + [
        parameter(4, 6),
        nn.Parameter(torch.randn(6, 4).t()),
    ]
    params[-1].grad = torch.randn(4, 6)
    before = [p.detach().clone() for p in params]
    state = [torch.zeros_like(p) for p in params]
    calls: list[list[int]] = []

    def update(ps: list[Tensor], gs: list[Tensor], ss: list[Tensor], *, rate: float) -> None:
        calls.append([p.numel() for p in ps])
        torch._foreach_add_(ps, gs, alpha=-rate)
        torch._foreach_add_(ss, gs)

    with torch.no_grad():
        elementwise(update, params, state, rate=0.5)
    for p, b, s in zip(params, before, state, strict=True):
        torch.testing.assert_close(p.detach(), b - 0.5 * p.grad)
        torch.testing.assert_close(s, p.grad)
    contiguous = [size for call in calls[:-1] for size in call]
    assert max(contiguous) <= 128
    assert len(calls) == 1 + 4 + 2 + 5 + 1
    assert calls[-1] == [24]


def test_low_precision_is_rounded_once() -> None:
    p = parameter(250, dtype=torch.bfloat16)
    start, grad = p.detach().float(), p.grad.float()

    def update(ps: list[Tensor], gs: list[Tensor]) -> None:
        assert {t.dtype for t in ps + gs} == {torch.float32}
        for _ in range(8):
            torch._foreach_add_(ps, gs, alpha=-1e-3)

    with torch.no_grad():
        elementwise(update, [p])
    expected = start.clone()
    for _ in range(8):
        expected -= 1e-3 * grad
    assert torch.equal(p.detach(), expected.bfloat16())


def test_wide_dtype() -> None:
    pairs = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float32: torch.float32}
    pairs[torch.float64] = torch.float64
    assert all(wide_dtype(torch.empty(1, dtype=d)) == wide for d, wide in pairs.items())


def test_batches_are_bounded_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH", 10)
    params = [parameter(n) for n in (4, 5, 3, 30, 2)]
    assert [[p.numel() for p in batch] for batch in batches(params)] == [[4, 5], [3], [30], [2]]


@pytest.mark.parametrize("name", ["came", "galore_adamw", "muon"])
def test_a_step_under_autocast_is_the_same(name: str) -> None:
    """Else matrix products of a step would be in bfloat16, and only where no other thread takes them."""
    ends = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))
        optimizer = build(name, model)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn(p.shape)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                optimizer.step()
        ends.append([p.detach() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
