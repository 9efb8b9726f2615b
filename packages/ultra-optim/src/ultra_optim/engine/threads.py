"""Threads of our own for work on a CPU: each takes an item alone."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")

PLAIN = frozenset({Tensor, torch.nn.Parameter})
"""Types of tensors that are no DTensor or another subclass."""


def on_cpu(tensor: Tensor) -> bool:
    """Whether threads may share its work: it lies in this process's memory, and is no DTensor."""
    return tensor.is_cpu and type(tensor) in PLAIN


def spread(work: Callable[[Item], Result], items: Sequence[Item], *, here: bool = False) -> list[Result]:
    """Call ``work`` on every item, on as many threads as torch may use; return the results in order.

    Each thread works alone: what it calls, this function among it, does not divide its work further. torch's
    own way, to divide every operation, wakes the other threads for each, which takes longer than an operation
    on a slice.

    Args:
        work: see above.
        items: what to work on.
        here: whether the calling thread takes items too, since ``work`` has nothing that torch would divide;
            it is awake, and has a processor.

    Raises:
        Exception: what ``work`` raised for an item; by then no thread works any more.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not items:
        return [work(item) for item in items]
    results: list[Any] = [None] * len(items)
    numbers = itertools.count()
    inference = torch.is_inference_mode_enabled()  # here; threads do not inherit it

    def take_turns() -> None:
        with torch.inference_mode(inference), torch.no_grad():
            while (number := next(numbers)) < len(items):
                results[number] = work(items[number])

    pool = _pool(threads)
    futures = [pool.submit(take_turns) for _ in range(min(threads, len(items)) - here)]
    try:
        if here:
            take_turns()
    finally:
        wait(futures)
    for future in futures:
        future.result()
    return results


def each_alone(
    work: Callable[[Item], object],
    items: Sequence[Item],
    weights: Callable[[Item], Sequence[Tensor]],
    limit: float = math.inf,
) -> None:
    """Call ``work`` on every item; on a CPU one thread does the work on an item, see :func:`spread`.

    Longer items come first, one after the other in the calling thread, and ``work`` must divide them itself
    or leave that to torch. So it is with all of them on an accelerator; and with DTensors, since processes
    that exchange parts must do so in the same order.

    Args:
        work: reads and writes nothing that it writes for another item.
        items: what to work on.
        weights: tells the parameters of an item.
        limit: elements of them above which an item is long.
    """
    tensors = [weights(item) for item in items]
    if not all(on_cpu(t) for each in tensors for t in each):
        limit = -1
    sizes = [sum(t.numel() for t in each) for each in tensors]
    for item, size in zip(items, sizes, strict=True):
        if size > limit:
            work(item)
    spread(work, [item for item, size in zip(items, sizes, strict=True) if size <= limit])


_pools: dict[int, ThreadPoolExecutor] = {}
_making = threading.Lock()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads in which torch's operations are not divided among others."""
    with _making:
        if threads not in _pools:
            started = threading.Barrier(threads + 1)
            _pools[threads] = pool = ThreadPoolExecutor(threads, "ultra-optim", _be_alone, (started,))
            for _ in range(threads):
                pool.submit(int)
            started.wait()
            torch.set_num_threads(threads)  # which the workers have set for all threads to come
    return _pools[threads]


def _be_alone(started: threading.Barrier) -> None:
    torch.get_num_threads()  # or the first operation would undo the next line
    torch.set_num_threads(1)
    torch.empty(1 << 22)  # a large block, freed once, teaches glibc to keep the memory of smaller ones
    started.wait()


def _after_fork() -> None:
    global _making
    _making = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
