"""Element-wise updates on a CPU: slices that stay in the cache, one thread to a slice."""

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

from ultra_optim import compiled

SLICE = 1 << 18
"""Elements per slice: half a dozen such tensors fit a last-level cache, and calls are few enough."""

LONG = 1 << 19
"""Elements per slice of compiled updates, which read everything once and whose calls cost more."""

GRAIN = 1 << 15
"""torch does not divide operations on fewer elements among threads."""

WIDE = frozenset({torch.float32, torch.float64})

Update = Callable[..., "Sequence[Tensor] | None"]
Item = TypeVar("Item")
Result = TypeVar("Result")


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """Return the tensor's dtype, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def elementwise(
    update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
) -> list[Tensor]:
    """Call ``update(params, grads, *state, **numbers)`` on lists of tensors that together cover everything.

    ``update`` writes to parameters and state in place with ``torch._foreach_*`` and treats every element
    alone. On an accelerator it is called once with whole tensors; on a CPU with slices, so that a chain of
    operations reads each tensor from memory once. Low-precision parameters and their gradients arrive widened
    and are rounded back after. State of one element, a number per tensor, comes with every slice of its
    parameter. Slices, and so results, are the same for any number of threads.

    Returns:
        for every parameter the sum over its slices of what ``update`` returns, a tensor for each of the list;
        nothing if it returns None.
    """
    grads = [p.grad for p in params if p.grad is not None]
    return over_slices(update, params, grads, *state, **numbers)


def over_slices(update: Update, *columns: Sequence[Tensor], **numbers: Any) -> list[Tensor]:
    """Do as :func:`elementwise`, with the gradients in the second column."""

    def on(portion: Portion) -> Sequence[Tensor] | None:
        params, grads, *state = portion[1]
        if all(p.dtype in WIDE and g.dtype is p.dtype for p, g in zip(params, grads, strict=True)):
            return update(params, grads, *state, **numbers)
        wide = [p.to(wide_dtype(p)) for p in params]
        parts = update(wide, [g.to(w.dtype) for g, w in zip(grads, wide, strict=True)], *state, **numbers)
        for p, w in zip(params, wide, strict=True):
            if w is not p:
                p.copy_(w)
        return parts

    rows: list[Row] = list(enumerate(zip(*columns, strict=True)))
    results: list[tuple[int, Tensor | None]] = []
    if compiled.is_compiled(update):
        long = [(i, row) for i, row in rows if _is_compilable(row)]
        rows = [(i, row) for i, row in rows if not _is_compilable(row)]
        results += _compiled(update, long, **numbers)
    cut, whole = portions(rows)
    small = sum(p.numel() for _, (params, *_) in cut for p in params) < GRAIN
    parts = [*(map(on, cut) if small else spread(on, cut)), *map(on, whole)]
    for (indices, _), part in zip([*cut, *whole], parts, strict=True):
        results += zip(indices, part or (), strict=False)
    sums: dict[int, list[Tensor]] = {}
    for i, result in results:
        if result is not None:
            sums.setdefault(i, []).append(result)
    return [s[0] if len(s) == 1 else torch.stack(s).sum(0) for _, s in sorted(sums.items())]


def _compiled(update: Update, rows: Sequence[Row], **numbers: Any) -> list[tuple[int, Tensor | None]]:
    """Call the compiled update on slices of long rows; return its results with the numbers of the rows."""
    pieces = [(i, piece) for i, row in rows for piece in _pieces(row, LONG)]
    alone = all(_sliceable(row[0]) for _, row in rows)
    bunches = compiled.bunches([piece for _, piece in pieces], torch.get_num_threads() if alone else 1)

    def on(bunch: list[int]) -> Sequence[Tensor | None]:
        return compiled.call(update, [pieces[i][1] for i in bunch], **numbers) or [None] * len(bunch)

    parts = spread(on, bunches) if alone else map(on, bunches)
    by_piece = {
        i: part
        for bunch, each in zip(bunches, parts, strict=True)
        for i, part in zip(bunch, each, strict=False)
    }
    return [(i, by_piece[place]) for place, (i, _) in enumerate(pieces)]


Row = tuple[int, tuple[Tensor, ...]]
"""A number and a parameter, its gradient and state."""

Portion = tuple[list[int], list[list[Tensor]]]
"""Numbers of rows, and for each column the tensors of these rows or slices of them."""


def portions(rows: Sequence[Row]) -> tuple[list[Portion], list[Portion]]:
    """Cut rows of tensors of one shape into portions of about :data:`SLICE` elements; short ones share one.

    Returns:
        portions for threads of the CPU, and one of whole tensors that cannot be cut, if there are any.
    """
    cut: list[Portion] = []
    whole: list[Row] = []
    short: list[Row] = []
    filled = 0
    for index, row in rows:
        size = row[0].numel()
        if not all(map(_sliceable, row)):
            whole.append((index, row))
        elif size > SLICE // 2:
            cut += [([index], [[t] for t in piece]) for piece in _pieces(row, SLICE)]
        else:
            short.append((index, row))
            filled += size
            if filled > SLICE // 2:
                cut.append(_columns(short))
                short, filled = [], 0
    return [*cut, *([_columns(short)] if short else [])], [_columns(whole)] if whole else []


def _pieces(row: tuple[Tensor, ...], size: int) -> list[tuple[Tensor, ...]]:
    """Cut a row into flat slices of about ``size`` elements; on an accelerator it stays as it is."""
    numel = row[0].numel()
    count = max(1, round(numel / size))
    if not row[0].is_cpu:
        count = 1
    length = max(1, -(-numel // (64 * count)) * 64)  # whole vector registers, but at the end
    flat = [t.detach().view(-1) if t.numel() > 1 else t for t in row]
    columns = [t.split(length) if t.numel() > 1 else [t] * -(-numel // length) for t in flat]
    return list(zip(*columns, strict=True))


def _sliceable(tensor: Tensor) -> bool:
    return on_cpu(tensor) and tensor.is_contiguous()


def on_cpu(tensor: Tensor) -> bool:
    """Whether threads may share its work: it lies in this process's memory, and is no DTensor."""
    return tensor.device.type == "cpu" and _plain(tensor)


def _plain(tensor: Tensor) -> bool:
    """Whether it is no DTensor or another subclass."""
    return type(tensor) in (Tensor, torch.nn.Parameter)


def _is_compilable(row: tuple[Tensor, ...]) -> bool:
    """Whether a row is long enough for a call of its own, and one that flat tensors can stand for."""
    return row[0].numel() > SLICE // 2 and all(
        _plain(t) and t.is_contiguous() and t.device == row[0].device for t in row
    )


def _columns(rows: list[Row]) -> Portion:
    return [i for i, _ in rows], [list(column) for column in zip(*(row for _, row in rows), strict=True)]


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call ``work`` on every item, on as many threads as torch may use; return the results in order.

    Each thread works alone: what it calls, this function among it, does not divide its work further. torch's
    own way, to divide every operation, wakes the other threads for each, which takes longer than an operation
    on a slice.

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
    futures = [pool.submit(take_turns) for _ in range(min(threads, len(items)))]
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
            while _pools:
                _pools.popitem()[1].shutdown(wait=False)
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


os.register_at_fork(after_in_child=_pools.clear)
