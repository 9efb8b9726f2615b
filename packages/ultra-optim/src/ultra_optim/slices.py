"""Element-wise updates on a CPU: slices that stay in the cache, one thread to a slice."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim import compiled
from ultra_optim.threads import is_plain, spread

SLICE = 1 << 18
"""Elements per slice: half a dozen such tensors fit a last-level cache, and calls are few enough."""

LONG = 1 << 19
"""Elements per slice of compiled updates, which read everything once and whose calls cost more."""

REGISTERS = 64
"""Elements of whole vector registers."""

WIDE = frozenset({torch.float32, torch.float64})

Update: TypeAlias = Callable[..., "Sequence[Tensor] | None"]
"""Writes to lists of parameters and of state in place and treats every element alone.

It is called as ``update(params, grads, *state, **numbers)`` and returns nothing, or a tensor for each of the
list, to be added up over slices.
"""


class Look(NamedTuple):
    """One pass of an update over tensors; made by :func:`look` and :func:`look_over`."""

    update: Update
    columns: tuple[Sequence[Tensor], ...]
    """Parameters, gradients, and each kind of state."""
    numbers: Mapping[str, Any]
    compiling: bool
    """Whether updates are compiled that can be."""


Walk: TypeAlias = Generator[Look, list[Tensor], None]
"""Yields looks, one after the other; each is answered by the sums that :func:`take` returns of it."""


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """Return the tensor's dtype, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def look(update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any) -> Look:
    """Return a look at parameters, all of which have gradients, and at their state."""
    return look_over(update, params, [p.grad for p in params if p.grad is not None], *state, **numbers)


def look_over(update: Update, *columns: Sequence[Tensor], **numbers: Any) -> Look:
    """Return a look with the gradients in the second column."""
    return Look(update, columns, numbers, compiled.is_compiling())


def over_slices(update: Update, *columns: Sequence[Tensor], **numbers: Any) -> list[Tensor]:
    """Do as :func:`elementwise`, with the gradients in the second column."""
    return take([look_over(update, *columns, **numbers)])[0]


def elementwise(
    update: Update, params: Sequence[Tensor], *state: Sequence[Tensor], **numbers: Any
) -> list[Tensor]:
    """Call ``update(params, grads, *state, **numbers)`` on lists of tensors that together cover everything.

    Returns:
        its sums, see :func:`take`.
    """
    return take([look(update, params, *state, **numbers)])[0]


def once(only: Look) -> Walk:
    """Return a walk of one look."""
    yield only


def walk_alone(looks: Walk) -> None:
    """Take the looks of one walk."""
    walk_all([(looks, first) for first in itertools.islice(looks, 1)])


def walk_all(walks: Sequence[tuple[Walk, Look]], tasks: Sequence[Callable[[], None]] = ()) -> None:
    """Take the first looks of all walks together, then the second ones, and so on.

    Args:
        walks: and the first look of each; one walk writes nothing that another reads.
        tasks: go with the first looks, see :func:`take`.
    """
    going = list(walks)
    while going or tasks:
        sums = take([each for _, each in going], tasks)
        answers = ((walk, _next(walk, each, own)) for (walk, each), own in zip(going, sums, strict=True))
        going, tasks = [(walk, each) for walk, each in answers if each is not None], ()


def _next(walk: Walk, before: Look, sums: list[Tensor]) -> Look | None:
    with compiled.compiling(before.compiling):
        try:
            return walk.send(sums)
        except StopIteration:
            return None


class Part(NamedTuple):
    """Rows of a look: those that a call of its update takes, or the one that shares a compiled call."""

    look: int
    rows: list[int]
    shared: bool
    """Whether one of our threads does it."""
    compiled: bool = False
    start: int = 0
    stop: int | None = None
    """Elements of the row, seen as flat; None where tensors stay whole."""


Sum: TypeAlias = tuple[int, int, int, Tensor]
"""Numbers of a look and its row, the first element of a slice, and what the update returned for it."""


def take(looks: Sequence[Look], tasks: Sequence[Callable[[], None]] = ()) -> list[list[Tensor]]:
    """Take looks, all at once.

    On an accelerator an update is called once with whole tensors; on a CPU with slices, so that a chain of
    operations reads each tensor from memory once. Low-precision parameters and their gradients arrive widened
    and are rounded back after. State of one element, a number per tensor, comes with every slice of its
    parameter. Slices, and so results, are the same for any number of threads.

    Args:
        looks: write nothing that another reads.
        tasks: other work, on a CPU; one thread does each.

    Returns:
        for each look and every parameter the sum over its slices of what the update returns; nothing for a
        look whose update returns None.
    """
    parts = [part for number, each in enumerate(looks) for part in _parts(number, each)]
    shared = _jobs(looks, [part for part in parts if part.shared], torch.get_num_threads())
    found = spread(lambda job: job() or [], [*tasks, *shared])
    found += [job() for job in _jobs(looks, [part for part in parts if not part.shared], 1)]
    pieces: dict[tuple[int, int], list[Tensor]] = {}
    for number, row, _, result in sorted(itertools.chain(*found), key=lambda each: each[:3]):
        pieces.setdefault((number, row), []).append(result)
    sums: list[list[Tensor]] = [[] for _ in looks]
    for (number, _), each in pieces.items():
        sums[number].append(each[0] if len(each) == 1 else torch.stack(each).sum(0))
    return sums


def _parts(number: int, look: Look) -> Iterator[Part]:
    """Cut the rows of a look into parts of about :data:`SLICE` elements; short ones share one."""
    whole: list[int] = []
    short: list[int] = []
    filled = 0
    compile = look.compiling and compiled.is_compilable(look.update)
    for index, row in enumerate(zip(*look.columns, strict=True)):
        size = row[0].numel()
        shared = all(t.is_cpu for t in row)
        flat = all(is_plain(t) and t.is_contiguous() for t in row)
        if compile and flat and size > SLICE // 2 and len({t.device for t in row}) == 1:
            rest = size % compiled.WIDTH
            yield from _pieces(Part(number, [index], shared, True), size - rest, LONG, compiled.WIDTH)
            if rest:
                yield Part(number, [index], shared, start=size - rest, stop=size)
        elif not (shared and flat):
            whole.append(index)
        elif size > SLICE // 2:
            yield from _pieces(Part(number, [index], shared), size, SLICE, REGISTERS)
        else:
            short.append(index)
            filled += size
            if filled > SLICE // 2:
                yield Part(number, short, shared)
                short, filled = [], 0
    if short:
        yield Part(number, short, shared=True)
    if whole:
        yield Part(number, whole, shared=False)


def _pieces(part: Part, size: int, length: int, unit: int) -> Iterator[Part]:
    """Cut the row of a part into pieces of about ``length`` elements, whole units but at the end.

    On an accelerator there is one piece.
    """
    count = max(1, round(size / length)) if part.shared else 1
    length = max(1, -(-size // (unit * count))) * unit
    for start in range(0, size, length):
        yield part._replace(start=start, stop=min(start + length, size))


def _jobs(looks: Sequence[Look], parts: Sequence[Part], threads: int) -> list[Callable[[], list[Sum]]]:
    """Return calls for these parts: of compiled updates, as many for each thread, and of others."""
    joint = [part for part in parts if part.compiled]
    rows = [[column[part.rows[0]] for column in looks[part.look].columns] for part in joint]
    kinds = [
        compiled.kind(looks[part.look].update, row, looks[part.look].numbers)
        for part, row in zip(joint, rows, strict=True)
    ]
    bunches = compiled.bunches(kinds, [(part.stop or 0) - part.start for part in joint], threads)
    return [
        *(
            functools.partial(_compiled, looks, kinds[bunch[0]], [joint[i] for i in bunch])
            for bunch in bunches
        ),
        *(functools.partial(_eager, looks, part) for part in parts if not part.compiled),
    ]


def _compiled(looks: Sequence[Look], kind: compiled.Kind, parts: Sequence[Part]) -> list[Sum]:
    rows = [[column[0] for column in _columns(looks[part.look], part)] for part in parts]
    results = compiled.call(kind, rows, [looks[part.look].numbers for part in parts])
    return [
        (part.look, part.rows[0], part.start, result)
        for part, result in zip(parts, results, strict=True)
        if result is not None
    ]


def _eager(looks: Sequence[Look], part: Part) -> list[Sum]:
    update, numbers = looks[part.look].update, looks[part.look].numbers
    params, grads, *state = _columns(looks[part.look], part)
    if all(p.dtype in WIDE and g.dtype is p.dtype for p, g in zip(params, grads, strict=True)):
        results = update(params, grads, *state, **numbers)
    else:
        wide = [p.to(wide_dtype(p)) for p in params]
        wide_grads = [g.to(w.dtype) for g, w in zip(grads, wide, strict=True)]
        results = update(wide, wide_grads, *state, **numbers)
        for p, w in zip(params, wide, strict=True):
            if w is not p:
                p.copy_(w)
    return [(part.look, row, part.start, r) for row, r in zip(part.rows, results or (), strict=False)]


def _columns(look: Look, part: Part) -> list[list[Tensor]]:
    """Return the tensors of a part by columns, with a start and a stop slices of them."""
    columns = [[column[row] for row in part.rows] for column in look.columns]
    if part.stop is None:
        return columns
    return [
        [t if t.numel() == 1 else t.detach().view(-1)[part.start : part.stop] for t in column]
        for column in columns
    ]
