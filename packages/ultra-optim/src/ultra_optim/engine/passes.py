"""Passes of element-wise updates: cache-sized slices on a CPU, each taken by one thread; compiled code.

An accelerator in front of :mod:`ultra_optim.engine.plain`, which takes every tensor that is left.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine import c_backend, compilation, sizes, torch_backend
from ultra_optim.engine.plain import Pass, Passes, apply
from ultra_optim.engine.threads import PLAIN_TYPES, has_no_memory, parallel_map

Row: TypeAlias = tuple[Tensor, ...]
"""A parameter, its gradient and its state."""


class Queued(NamedTuple):
    """The passes of an update that wait to be run.

    Attributes:
        passes: the generator, which has yielded ``current``.
        current: the next pass to run.
        compile: the option, see :mod:`ultra_optim.engine.compilation`; not False.
    """

    passes: Passes
    current: Pass
    compile: bool | None

    def after(self, sums: list[Tensor]) -> Queued | None:
        """Return what is left to run once the current pass has returned its sums; None at the end."""
        try:
            return self._replace(current=self.passes.send(sums))
        except StopIteration:
            return None


def queued(passes: Passes, compile: bool | None) -> list[Queued]:
    """Start a generator of passes and return it with the first one; nothing if it has none."""
    return [Queued(passes, first, compile) for first in itertools.islice(passes, 1)]


def run_passes(queue: Sequence[Queued], tasks: Sequence[Callable[[], None]] = ()) -> None:
    """Run the first passes of all updates together, then all second passes, and so on.

    Args:
        queue: the updates; none writes what another one reads.
        tasks: other work on a CPU, which is shared among the threads together with the first passes.
    """
    going = list(queue)
    while going or tasks:
        sums = run(going, tasks)
        rest = (each.after(own) for each, own in zip(going, sums, strict=True))
        going, tasks = [each for each in rest if each is not None], ()


class Part(NamedTuple):
    """Rows of a pass that one thread takes, or of which one compiled call takes several.

    Attributes:
        one: the pass.
        places: for each row the number of the pass and of the row.
        rows: the tensors.
        shared: whether our threads share the work, as on a CPU.
        start: first element of the row, seen as flat.
        stop: one after the last; None where tensors stay whole.
        loop: the C loop that replaces the update, if there is one.
        compiled: whether ``torch.compile`` replaces it.
    """

    one: Pass
    places: list[tuple[int, int]]
    rows: list[Row]
    shared: bool
    start: int = 0
    stop: int | None = None
    loop: c_backend.Loop | None = None
    compiled: bool = False


Sum: TypeAlias = tuple[tuple[int, int], int, Tensor]
"""A place, the first element of a slice, and what the update returned for it."""


def run(queue: Sequence[Queued], tasks: Sequence[Callable[[], None]] = ()) -> list[list[Tensor]]:
    """Run the current passes of several updates at once.

    On an accelerator an update is called once with whole tensors; on a CPU with slices, so that a chain of
    operations reads each tensor from memory once. State of one element, a number for a tensor, comes with
    every slice of its parameter. Slices, and so results, are the same for any number of threads.

    Args:
        queue: the updates; none writes what another one reads.
        tasks: other work on a CPU; each task runs in one thread.

    Returns:
        for each update and every parameter the sum over its slices of what the update returns; an empty list
        for an update that returns None.
    """
    parts = [part for number, each in enumerate(queue) for part in _parts(number, each)]
    jobs: list[Callable[[], list[Sum] | None]] = list(tasks)
    jobs += [functools.partial(_run_part, part) for part in parts if part.shared]
    only_loops = not tasks and all(part.loop is not None for part in parts if part.shared)
    found = [sums for sums in parallel_map(operator.call, jobs, caller_works=only_loops) if sums]
    found += [_run_part(part) for part in parts if not part.shared and not part.compiled]
    found += _run_compiled([part for part in parts if part.compiled])
    pieces: dict[tuple[int, int], list[Tensor]] = {}
    for place, _, result in sorted(itertools.chain(*found), key=lambda each: each[:2]):
        pieces.setdefault(place, []).append(result)
    sums: list[list[Tensor]] = [[] for _ in queue]
    for (number, _), each in pieces.items():
        sums[number].append(each[0] if len(each) == 1 else torch.stack(each).sum(0))
    return sums


def _parts(number: int, each: Queued) -> Iterator[Part]:
    """Cut long rows of a pass into slices and put short ones together, about a slice in each part."""
    one = each.current
    if any(map(has_no_memory, one.columns[0])):
        yield from _first_slices(number, one)
        return
    compilable = compilation.is_compilable(one.update)
    in_c = compilable and c_backend.is_used(each.compile)
    loops: dict[c_backend.Signature | None, c_backend.Loop | None] = {None: None}
    short: dict[c_backend.Signature | None, Part] = {}
    filled: Counter[c_backend.Signature | None] = Counter()
    whole = Part(one, [], [], shared=False)
    for index, row in enumerate(zip(*one.columns, strict=True)):
        place, size = (number, index), row[0].numel()
        is_long = size > sizes.TORCH_SLICE // 2
        if not _is_flat(row) or not all(t.is_cpu for t in row):
            if (
                compilable
                and each.compile
                and is_long
                and _is_flat(row)
                and len({t.device for t in row}) == 1
            ):
                yield Part(one, [place], [row], shared=False, compiled=True)
            else:
                _append(whole, place, row)
            continue
        signature = c_backend.signature_of(row) if in_c else None
        if signature is not None and signature not in loops:
            loops[signature] = c_backend.loop_for(one.update, signature, one.numbers)
        loop = loops[signature]
        if is_long:
            for start, stop in _slices(size, sizes.C_SLICE if loop else sizes.TORCH_SLICE):
                yield Part(one, [place], [row], True, start, stop, loop)
            continue
        _append(short.setdefault(signature, Part(one, [], [], shared=True, loop=loop)), place, row)
        filled[signature] += size
        if filled[signature] > sizes.TORCH_SLICE // 2:
            yield short.pop(signature)
            filled[signature] = 0
    yield from short.values()
    if whole.rows:
        yield whole


def _first_slices(number: int, one: Pass) -> Iterator[Part]:
    """Yield the parts of tensors that only have a shape: of a long one the first slice, short ones together.

    They show the scratch memory of a pass without the time of all slices.
    """
    short, filled = Part(one, [], [], shared=False), 0
    for index, row in enumerate(zip(*one.columns, strict=True)):
        place, size = (number, index), row[0].numel()
        if size > sizes.TORCH_SLICE // 2:
            yield Part(one, [place], [row], shared=False, stop=min(size, sizes.TORCH_SLICE))
            continue
        _append(short, place, row)
        filled += size
        if filled > sizes.TORCH_SLICE // 2:
            yield short
            short, filled = Part(one, [], [], shared=False), 0
    if short.rows:
        yield short


def _is_flat(row: Row) -> bool:
    return all(type(t) in PLAIN_TYPES and t.is_contiguous() for t in row)


def _slices(size: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of nearly equal slices of about this length."""
    count = max(1, round(size / length))
    step = -(-size // (64 * count)) * 64  # whole vector registers, except at the end
    for start in range(0, size, step):
        yield start, min(start + step, size)


def _append(part: Part, place: tuple[int, int], row: Row) -> None:
    part.places.append(place)
    part.rows.append(row)


def _run_part(part: Part) -> list[Sum]:
    """Call the update on the tensors of a part or on slices of them, or the loop that does the same."""
    if part.loop is not None:
        return _sums(part, part.loop(part.rows, part.start, part.stop))
    rows = part.rows
    if part.stop is not None and part.stop - part.start < rows[0][0].numel():
        rows = [tuple(t if t.numel() == 1 else _flat(t)[part.start : part.stop] for t in rows[0])]
    return _sums(part, apply(part.one._replace(columns=tuple(zip(*rows, strict=True)))))


def _run_compiled(parts: Sequence[Part]) -> list[list[Sum]]:
    """Call compiled updates on an accelerator, on several rows at a time."""
    results = torch_backend.call_all(
        [part.one.update for part in parts],
        [[t if t.numel() == 1 else _flat(t) for t in part.rows[0]] for part in parts],
        [part.one.numbers for part in parts],
    )
    return [_sums(part, [result]) for part, result in zip(parts, results, strict=True)]


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().view(-1)


def _sums(part: Part, results: Sequence[Tensor | None] | None) -> list[Sum]:
    return [
        (place, part.start, result)
        for place, result in zip(part.places, results or (), strict=False)
        if result is not None
    ]
