"""Threads that share work on a CPU."""

import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ultra_optim.engine.threads import parallel_for, parallel_map


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def test_long_items_and_subclasses_are_left_to_the_calling_thread() -> None:
    class Distributed(Tensor):
        pass

    def who(items: list[Tensor], limit: float) -> dict[int, bool]:
        done: list[tuple[int, bool]] = []
        here = threading.current_thread()
        parallel_for(
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


def test_threads_do_not_divide_their_work_further() -> None:
    inner = parallel_map(
        lambda n: parallel_map(lambda m: threading.current_thread().name, range(4)), range(6)
    )
    assert all(len(set(some)) == 1 and some[0].startswith("ultra-optim") for some in inner)


def test_threads_share_the_work_and_leave_torch_as_it_was() -> None:
    together = threading.Barrier(3, timeout=60)

    def work(number: int) -> tuple[int, int, str]:
        if number < 3:
            together.wait()  # nobody takes two of these
        return number, torch.get_num_threads(), threading.current_thread().name

    results = parallel_map(work, range(20))
    assert [number for number, _, _ in results] == list(range(20))
    assert {own for _, own, _ in results} == {1}
    assert len({name for _, _, name in results}) == 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    assert parallel_map(work, range(3, 5))[0][2] == threading.current_thread().name


def test_threads_write_to_state_made_in_inference_mode() -> None:
    with torch.inference_mode():
        made = torch.zeros(9)
        parallel_map(lambda part: part.add_(1), made.split(1))
    assert bool((made == 1).all())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    assert parallel_map(lambda n: n * n, range(50))[-1] == 49 * 49
    child = multiprocessing.get_context("fork").Process(target=_square)
    child.start()
    child.join(60)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert child.exitcode == 0


def _square() -> None:
    assert parallel_map(lambda n: n * n, range(50))[-1] == 49 * 49
