"""Slices on threads of their own: the same numbers on any number of them."""

import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import build, slices
from ultra_optim.slices import elementwise, spread


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torch use three threads."""
    monkeypatch.setattr(slices, "SLICE", 1 << 10)
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


@pytest.mark.parametrize("name", ["adan", "adamw_8bit", "lamb", "mars_adamw", "prodigy", "stable_adamw"])
def test_the_number_of_threads_changes_no_bit(name: str, threads: None) -> None:
    three = trained(name)
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(three, trained(name), strict=True))


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
