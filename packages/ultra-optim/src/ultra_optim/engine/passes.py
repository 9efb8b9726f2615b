"""Element-wise updates on a CPU: slices that stay in the cache, one thread to a slice."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim.engine import c_backend as native
from ultra_optim.engine import compiled
from ultra_optim.engine.threads import PLAIN, spread

SLICE = 1 << 18
"""Elements per slice: half a dozen such tensors fit a last-level cache, and calls are few enough."""

LONG = 1 << 19
"""Elements per slice that a loop of C moves, which reads everything once and whose calls cost more."""

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
    compile: bool | None
    """See :func:`ultra_optim.engine.compiled.compiling`."""


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
    return Look(update, columns, numbers, compiled.is_wanted())


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
    with compiled.compiling(before.compile):
        try:
            return walk.send(sums)
        except StopIteration:
            return None


class Part(NamedTuple):
    """Rows of a look that one thread takes, or of which a compiled call takes several."""

    look: Look
    places: list[tuple[int, int]]
    """Numbers of the look and of each row."""
    rows: list[tuple[Tensor, ...]]
    shared: bool
    """Whether the thread is one of ours, as on a CPU."""
    start: int = 0
    stop: int | None = None
    """Elements of the row, seen as flat; None where tensors stay whole."""
    loop: native.Loop | None = None
    """What moves the rows if the update does not."""
    compiled: bool = False
    """Whether ``torch.compile`` does."""


Sum: TypeAlias = tuple[tuple[int, int], int, Tensor]
"""A place, the first element of a slice, and what the update returned for it."""


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
    jobs: list[Callable[[], list[Sum] | None]] = list(tasks)
    jobs += [functools.partial(_move, part) for part in parts if part.shared]
    here = not tasks and all(part.loop is not None for part in parts if part.shared)
    found = spread(lambda job: job() or [], jobs, here=here)
    found += [_move(part) for part in parts if not part.shared and not part.compiled]
    found += _compiled([part for part in parts if part.compiled])
    pieces: dict[tuple[int, int], list[Tensor]] = {}
    for place, _, result in sorted(itertools.chain(*found), key=lambda each: each[:2]):
        pieces.setdefault(place, []).append(result)
    sums: list[list[Tensor]] = [[] for _ in looks]
    for (number, _), each in pieces.items():
        sums[number].append(each[0] if len(each) == 1 else torch.stack(each).sum(0))
    return sums


def _parts(number: int, look: Look) -> Iterator[Part]:
    """Cut the rows of a look into parts of about :data:`SLICE` elements; short ones share one."""
    marked = compiled.is_compilable(look.update)
    in_c = marked and native.wanted(look.compile)
    loops: dict[native.Form | None, native.Loop | None] = {None: None}
    short: dict[native.Form | None, Part] = {}
    filled: Counter[native.Form | None] = Counter()
    whole = Part(look, [], [], shared=False)
    for index, row in enumerate(zip(*look.columns, strict=True)):
        place, size = (number, index), row[0].numel()
        if not _is_flat_on_cpu(row):
            if marked and look.compile and size > SLICE // 2 and _is_flat_on_one_device(row):
                yield Part(look, [place], [row], shared=False, compiled=True)
            else:
                _join(whole, place, row)
            continue
        form = native.form_of(row) if in_c else None
        if form is not None and form not in loops:
            loops[form] = native.loop_for(look.update, form, look.numbers)
        if size > SLICE // 2:
            count = max(1, round(size / (LONG if loops[form] else SLICE)))
            length = -(-size // (64 * count)) * 64  # whole vector registers, but at the end
            for start in range(0, size, length):
                yield Part(look, [place], [row], True, start, min(start + length, size), loops[form])
            continue
        _join(short.setdefault(form, Part(look, [], [], shared=True, loop=loops[form])), place, row)
        filled[form] += size
        if filled[form] > SLICE // 2:
            yield short.pop(form)
            filled[form] = 0
    yield from short.values()
    if whole.rows:
        yield whole


def _is_flat_on_cpu(row: tuple[Tensor, ...]) -> bool:
    return all(type(t) in PLAIN and t.is_cpu and t.is_contiguous() for t in row)


def _is_flat_on_one_device(row: tuple[Tensor, ...]) -> bool:
    return len({t.device for t in row}) == 1 and all(type(t) in PLAIN and t.is_contiguous() for t in row)


def _join(part: Part, place: tuple[int, int], row: tuple[Tensor, ...]) -> None:
    part.places.append(place)
    part.rows.append(row)


def _move(part: Part) -> list[Sum]:
    """Call an update on the tensors of a part or on slices of them, or the loop that does the same."""
    if part.loop is not None:
        return _sums(part, part.loop(part.rows, part.start, part.stop))
    update, numbers, rows = part.look.update, part.look.numbers, part.rows
    if part.stop is not None and part.stop - part.start < rows[0][0].numel():
        rows = [
            tuple([t if t.numel() == 1 else t.detach().view(-1)[part.start : part.stop] for t in rows[0]])
        ]
    params, grads, *state = (list(column) for column in zip(*rows, strict=True))
    if all(p.dtype in WIDE and g.dtype is p.dtype for p, g in zip(params, grads, strict=True)):
        return _sums(part, update(params, grads, *state, **numbers))
    wide = [p.to(wide_dtype(p)) for p in params]
    results = update(wide, [g.to(w.dtype) for g, w in zip(grads, wide, strict=True)], *state, **numbers)
    for p, w in zip(params, wide, strict=True):
        if w is not p:
            p.copy_(w)
    return _sums(part, results)


def _compiled(parts: Sequence[Part]) -> list[list[Sum]]:
    """Call compiled updates on an accelerator, on several rows at a time."""
    results = compiled.call_all(
        [part.look.update for part in parts],
        [[t if t.numel() == 1 else t.detach().view(-1) for t in part.rows[0]] for part in parts],
        [part.look.numbers for part in parts],
    )
    return [_sums(part, [result]) for part, result in zip(parts, results, strict=True)]


def _sums(part: Part, results: Sequence[Tensor | None] | None) -> list[Sum]:
    return [
        (place, part.start, result)
        for place, result in zip(part.places, results or (), strict=False)
        if result is not None
    ]
