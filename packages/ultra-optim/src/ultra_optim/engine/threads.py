"""Threads for work on a CPU, each of which works on its own item without dividing the work further."""

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

PLAIN_TYPES = frozenset({Tensor, torch.nn.Parameter})
"""Types of tensors that are neither a DTensor nor another subclass."""


def on_cpu(tensor: Tensor) -> bool:
    """Whether our threads may work on a tensor: it is in this process's memory and not a DTensor."""
    return tensor.is_cpu and type(tensor) in PLAIN_TYPES


def has_no_memory(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch's ``FakeTensorMode``, which has a shape and a device but no values."""
    return hasattr(tensor, "fake_mode")


def parallel_map(
    work: Callable[[Item], Result], items: Sequence[Item], *, caller_works: bool = False
) -> list[Result]:
    """Call ``work`` on every item, on as many threads as torch may use; return the results in order.

    Inside a thread neither torch nor this function divides the work further. torch's own way, to divide every
    operation, wakes the other threads each time, which takes longer than an operation on a cache-sized slice.

    Args:
        work: the function.
        items: its arguments.
        caller_works: whether the calling thread takes items too. It may if ``work`` calls nothing that torch
            would divide.

    Raises:
        Exception: what ``work`` raised for an item; by then all threads have stopped.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not items:
        return list(map(work, items))
    results: list[Any] = [None] * len(items)
    numbers = itertools.count()
    inference = torch.is_inference_mode_enabled()  # threads do not inherit it

    def take_turns() -> None:
        with torch.inference_mode(inference), torch.no_grad():
            while (number := next(numbers)) < len(items):
                results[number] = work(items[number])

    pool = _pool(threads)
    futures = [pool.submit(take_turns) for _ in range(min(threads, len(items)) - caller_works)]
    try:
        if caller_works:
            take_turns()
    finally:
        wait(futures)
    for future in futures:
        future.result()
    return results


def parallel_for(
    work: Callable[[Item], object],
    items: Sequence[Item],
    parameters_of: Callable[[Item], Sequence[Tensor]],
    limit: float = math.inf,
) -> None:
    """Call ``work`` on every item, on a CPU in parallel, see :func:`parallel_map`.

    Items of more than ``limit`` elements come first, one after the other in the calling thread, where
    ``work`` divides them itself or leaves that to torch. On an accelerator all items are called so; DTensors
    too, because processes that communicate must do it in the same order.

    Args:
        work: a function that reads and writes nothing that it writes for another item.
        items: its arguments.
        parameters_of: returns the parameters of an item.
        limit: number of elements of these parameters.
    """
    tensors = [parameters_of(item) for item in items]
    if not all(on_cpu(t) for each in tensors for t in each):
        limit = -1
    is_long = [sum(t.numel() for t in each) > limit for each in tensors]
    for item in itertools.compress(items, is_long):
        work(item)
    parallel_map(work, [item for item, long in zip(items, is_long, strict=True) if not long])


_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads in which torch does not divide its operations."""
    with _lock:
        if threads not in _pools:
            started = threading.Barrier(threads + 1)
            _pools[threads] = pool = ThreadPoolExecutor(threads, "ultra-optim", _start_thread, (started,))
            for _ in range(threads):
                pool.submit(int)
            started.wait()
            torch.set_num_threads(threads)  # the workers have changed it for all threads to come
    return _pools[threads]


def _start_thread(started: threading.Barrier) -> None:
    torch.get_num_threads()  # or the first operation would undo the next line
    torch.set_num_threads(1)
    torch.empty(1 << 22)  # freeing one large block teaches glibc to keep the memory of smaller ones
    started.wait()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
