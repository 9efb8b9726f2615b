"""Compiled element-wise updates: one pass over memory, code that is made once for all shapes and rates.

Functions of element-wise optimizers that are marked with :func:`compilable` are compiled: on a CPU to loops
of C (:mod:`ultra_optim.engine.c_backend`), which takes tenths of a second and is done wherever there is a C compiler;
elsewhere, with the option ``compile=True``, by ``torch.compile``, for long tensors on any device it knows.
With ``compile=False`` they call torch's operations one after the other, as they do for tensors that are not
contiguous or of a subclass (DTensor), and on a CPU for those in half precision. Results differ by rounding.
AdamW does not have the option, torch's kernel being one pass already, nor have methods that are not
element-wise.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from ultra_optim.engine import c_backend as native

Row: TypeAlias = Sequence[Tensor]
Function = TypeVar("Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)
_compiling: ContextVar[bool | None] = ContextVar("compiling", default=False)
_compilable: set[Callable[..., Any]] = set()

TOGETHER = 4
"""Rows of a call, which takes tenths of a millisecond of Python; code for more takes longer to make."""


def compilable(update: Function) -> Function:
    """Mark an update whose numbers may be tensors, and which calls nothing but ``loops.OPERATIONS``."""
    _compilable.add(update)
    return update


def marked() -> frozenset[Callable[..., Any]]:
    """Return all updates that are marked."""
    return frozenset(_compilable)


@contextlib.contextmanager
def compiling(wanted: bool | None) -> Iterator[None]:
    """Compile the updates inside; with None where it costs next to nothing, on a CPU with a compiler."""
    token = _compiling.set(wanted)
    try:
        yield
    finally:
        _compiling.reset(token)


def is_wanted() -> bool | None:
    """Return what :func:`compiling` was given."""
    return _compiling.get()


def is_compilable(update: Callable[..., Any]) -> bool:
    """Whether an update is marked."""
    return update in _compilable


class _Kind(NamedTuple):
    """What rows have in common that a call takes together."""

    update: Callable[..., Any]
    names: tuple[str, ...]
    """Of the numbers that may be others in every call."""
    fixed: tuple[tuple[str, Any], ...]
    """Flags, which are part of the code."""
    tensors: tuple[tuple[torch.device, torch.dtype, bool], ...]
    """Device and dtype of each column, and whether it has one element."""


def call_all(
    updates: Sequence[Callable[..., Any]], rows: Sequence[Row], numbers: Sequence[Mapping[str, Any]]
) -> list[Tensor | None]:
    """Call compiled updates, on rows that are alike together.

    Numbers are handed over as a tensor on the rows' device, so that new ones need no new code; flags are part
    of the code. Low-precision parameters are widened inside.

    Args:
        updates: of each row; marked.
        rows: each a parameter, its gradient and state on one device, flat or of one element.
        numbers: of each row.

    Returns:
        what each update returns for its row.
    """
    alike: dict[_Kind, list[int]] = {}
    for i, (update, row, own) in enumerate(zip(updates, rows, numbers, strict=True)):
        changing, fixed = native.divide(own)
        tensors = tuple((t.device, t.dtype, t.numel() == 1) for t in row)
        alike.setdefault(_Kind(update, tuple(changing), fixed, tensors), []).append(i)
    results: list[Tensor | None] = [None] * len(rows)
    for kind, members in alike.items():
        for some in (members[start : start + TOGETHER] for start in range(0, len(members), TOGETHER)):
            found = _call(kind, [rows[i] for i in some], [numbers[i] for i in some])
            for i, result in zip(some, found, strict=False):
                results[i] = result
    return results


def _call(kind: _Kind, rows: Sequence[Row], numbers: Sequence[Mapping[str, Any]]) -> list[Tensor | None]:
    first = rows[0][0]
    wide = torch.promote_types(first.dtype, torch.float32)
    values = [[float(each[name]) for name in kind.names] for each in numbers]
    values += values[-1:] * (TOGETHER - len(rows))
    padding = [_like(rows[0], 128) for _ in range(TOGETHER - len(rows))]
    # A number may be that of several rows; dynamo would compile anew for one object in two places.
    tensors = [t.view(()) if t.numel() == 1 else t for row in [*rows, *padding] for t in row]
    return _function(kind)(torch.tensor(values, dtype=wide, device=first.device), *tensors)


@functools.cache
def _function(kind: _Kind) -> Callable[..., list[Tensor | None]]:
    columns = len(kind.tensors)

    def several(values: Tensor, *tensors: Tensor) -> list[Tensor | None]:
        parts: list[Tensor | None] = []
        for i, changing in enumerate(values.unbind()):
            p, g, *state = tensors[i * columns : (i + 1) * columns]
            wide, wide_grad = p.to(values.dtype), g.to(values.dtype)
            named = dict(zip(kind.names, changing.unbind(), strict=True))
            result = kind.update([wide], [wide_grad], *([s] for s in state), **named, **dict(kind.fixed))
            if p.dtype != wide.dtype:
                p.copy_(wide)
            parts += result or [None]
        return parts

    # Code of its own, or dynamo would count the functions made here as recompilations of one.
    several.__code__ = several.__code__.replace(co_name=kind.update.__name__)
    fast = torch.compile(several, fullgraph=True, dynamic=True)
    start = time.perf_counter()
    device, dtype, _ = kind.tensors[0]
    row = [torch.ones(() if alone else 128, dtype=t, device=d) for d, t, alone in kind.tensors]
    values = torch.ones(
        TOGETHER, len(kind.names), dtype=torch.promote_types(dtype, torch.float32), device=device
    )
    fast(values, *itertools.chain.from_iterable(_like(row, 64 * (2 + i)) for i in range(TOGETHER)))
    _log.info("compiled %s in %.1f s", kind.update.__name__, time.perf_counter() - start)
    return fast


def _like(row: Row, length: int) -> list[Tensor]:
    """Return a row like one; code is made for different lengths: equal ones would be taken to stay equal."""
    return [t.new_ones(() if t.numel() == 1 else length) for t in row]
