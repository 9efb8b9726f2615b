"""Element-wise updates by ``torch.compile``: one pass over memory, compiled once for all shapes and rates.

The option ``compile`` of element-wise optimizers has the functions compiled that are marked with
:func:`compilable`, for long tensors on any device that ``torch.compile`` knows; short ones, those that are
not contiguous and subclasses of tensors (DTensor) stay as they were. AdamW and SGD do not have it, torch's
kernels being one pass already, nor have methods that are not element-wise.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

Row: TypeAlias = Sequence[Tensor]
Function = TypeVar("Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)
_compiling: ContextVar[bool] = ContextVar("compiling", default=False)
_compilable: set[Callable[..., Any]] = set()
_making = threading.Lock()

TOGETHER = 4
"""Rows of a call, which takes tenths of a millisecond: the last one left nothing of Python in the caches."""

WIDTH = 1 << 10
"""Columns of a table of numbers: generated code adds up so many in registers; for more it makes another pass."""

FIRST = range(50, 50 + TOGETHER)
"""Heights of the tables that code is made for: it would take numbers that are equal then to be so always."""

ALONE: dict[str, str | int | bool | Callable[..., Any]] = {
    "cpp.threads": 1,
    "cpp_wrapper": True,
    "cpp.enable_floating_point_contract_flag": "fast",
}
"""torch's options for code on a CPU: one thread of ours runs it, without Python's lock, by fused products."""


def compilable(update: Function) -> Function:
    """Mark an update all of whose float arguments may be tensors of one element."""
    _compilable.add(update)
    return update


@contextlib.contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Compile the updates inside."""
    token = _compiling.set(wanted)
    try:
        yield
    finally:
        _compiling.reset(token)


def is_compiling() -> bool:
    """Whether marked updates are compiled here."""
    return _compiling.get()


def is_compilable(update: Callable[..., Any]) -> bool:
    """Whether an update is marked."""
    return update in _compilable


def check_compiler(who: str) -> None:
    """Look for the compiler that torch would call.

    Raises:
        ValueError: there is none.
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(name):
        raise ValueError(
            f"{who}: compile=True needs a C++ compiler, and {name} is not on the PATH: "
            "install it, name another in the environment variable CXX, or leave compile out"
        )


class Kind(NamedTuple):
    """What calls have in common that take rows together."""

    update: Callable[..., Any]
    names: tuple[str, ...]
    """Of the numbers that may be others in every call."""
    fixed: tuple[tuple[str, Any], ...]
    """Numbers that are part of the code."""
    device: torch.device
    tensors: tuple[tuple[torch.dtype, bool], ...]
    """The dtype of each column, and whether it has one element."""


def kind(update: Callable[..., Any], row: Row, numbers: Mapping[str, Any]) -> Kind:
    """Return what a row must share with others to be moved with them: floats may differ, not other values."""
    names = tuple(name for name, value in numbers.items() if isinstance(value, float))
    fixed = tuple((name, value) for name, value in numbers.items() if name not in names)
    return Kind(update, names, fixed, row[0].device, tuple((t.dtype, t.numel() == 1) for t in row))


def bunches(kinds: Sequence[Kind], sizes: Sequence[int], threads: int = 1) -> list[list[int]]:
    """Divide rows, each of a kind and a size, among calls of :func:`call`, as many for each thread."""
    members: dict[Kind, list[int]] = {}
    for i, each in enumerate(kinds):
        members.setdefault(each, []).append(i)
    found = []
    for rows in members.values():
        rows.sort(key=lambda i: -sizes[i])
        count = min(len(rows), threads * -(-len(rows) // (threads * TOGETHER)))
        found += [rows[start::count] for start in range(count)]
    return found


def call(kind: Kind, rows: Sequence[Row], numbers: Sequence[Mapping[str, Any]]) -> list[Tensor | None]:
    """Call the compiled update on at most :data:`TOGETHER` rows of a kind.

    Floats are handed over as a tensor on the rows' device, so that new ones need no new code. Low-precision
    parameters are widened inside.

    Args:
        kind: of all rows.
        rows: each a parameter, its gradient and state, flat, multiples of :data:`WIDTH` or of one element.
        numbers: the update's, of each row.

    Returns:
        what the update returns for each row.
    """
    first, *_ = rows[0]
    with _making:  # functools.cache lets threads that come at once make one each, and compile each
        function = _function(kind.update, kind.names, kind.fixed, len(kind.tensors), first.is_cpu)
    wide = torch.promote_types(first.dtype, torch.float32)
    values = [[each[name] for name in kind.names] for each in numbers]
    values += values[-1:] * (TOGETHER - len(rows))
    tables = [[_table(t) for t in row] for row in rows]
    return function(torch.tensor(values, dtype=wide, device=first.device), tables)[: len(rows)]


def _table(flat: Tensor) -> Tensor:
    """Return a table of the numbers, or one; in a new object, since dynamo compiles anew for equal ones."""
    return flat.view(() if flat.numel() == 1 else (-1, WIDTH))


@functools.cache
def _function(
    update: Callable[..., Any], names: tuple[str, ...], fixed: tuple[Any, ...], columns: int, on_cpu: bool
) -> Callable[[Tensor, Sequence[Row]], list[Tensor | None]]:
    def several(values: Tensor, *tensors: Tensor) -> list[Tensor | None]:
        parts: list[Tensor | None] = []
        for i, changing in enumerate(values.unbind()):
            p, g, *state = tensors[i * columns : (i + 1) * columns]
            wide, wide_grad = p.to(values.dtype), g.to(values.dtype)
            named = dict(zip(names, changing.unbind(), strict=True))
            result = update([wide], [wide_grad], *([s] for s in state), **named, **dict(fixed))
            if p.dtype != wide.dtype:
                p.copy_(wide)
            parts += result or [None]
        return parts

    # Code of its own, or dynamo would count the functions made here as recompilations of one.
    several.__code__ = several.__code__.replace(co_name=update.__name__)
    fast = torch.compile(several, fullgraph=True, dynamic=True, options=ALONE if on_cpu else None)
    compiling, known = threading.Lock(), set()

    @functools.wraps(several)
    def padded(values: Tensor, rows: Sequence[Row]) -> list[Tensor | None]:
        kind = (values.device, *(t.dtype for t in rows[0]))
        if kind not in known:
            with compiling:
                if kind not in known:
                    start = time.perf_counter()
                    fast(values, *itertools.chain.from_iterable(_stand_ins(rows[0], FIRST)))
                    _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - start)
                    known.add(kind)
        full = [*rows, *_stand_ins(rows[0], [2] * (TOGETHER - len(rows)))]
        return fast(values, *itertools.chain.from_iterable(full))

    return padded


def _stand_ins(row: Row, heights: Iterable[int]) -> list[Row]:
    """Return rows like one, with tables of other heights."""
    return [tuple(t.new_ones(t.shape if t.ndim == 0 else (height, WIDTH)) for t in row) for height in heights]
