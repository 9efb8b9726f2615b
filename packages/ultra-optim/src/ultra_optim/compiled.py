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
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

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


def is_compiled(update: Callable[..., Any]) -> bool:
    """Whether the update is to be called as :func:`call` does."""
    return _compiling.get() and update in _compilable


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


def bunches(rows: Sequence[Row], threads: int = 1) -> list[list[int]]:
    """Divide rows among calls of :func:`call`, as many for each thread; return their numbers in ``rows``."""
    kinds: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault((row[0].device, *((t.dtype, t.numel() == 1) for t in row)), []).append(i)
    found = []
    for members in kinds.values():
        members.sort(key=lambda i: -rows[i][0].numel())
        count = min(len(members), threads * -(-len(members) // (threads * TOGETHER)))
        found += [members[start::count] for start in range(count)]
    return found


def call(update: Callable[..., Any], rows: Sequence[Row], **numbers: Any) -> Sequence[Tensor | None] | None:
    """Call the compiled update on at most :data:`TOGETHER` rows of equal dtypes, on one device.

    Floats are handed over as a tensor on that device, so that new ones need no new code; other values are
    part of the code. Low-precision parameters are widened inside.

    Args:
        update: is marked.
        rows: each a parameter, its gradient and state, flat or of one element.
        numbers: the update's.

    Returns:
        what the update returns.
    """
    changing = {name: value for name, value in numbers.items() if isinstance(value, float)}
    fixed = tuple((name, value) for name, value in numbers.items() if name not in changing)
    first, *_ = rows[0]
    with _making:  # functools.cache lets threads that come at once make one each, and compile each
        function = _function(update, tuple(changing), fixed, len(rows[0]), first.is_cpu)
    wide = torch.promote_types(first.dtype, torch.float32)
    return function(torch.tensor(list(changing.values()), dtype=wide, device=first.device), rows)


@functools.cache
def _function(
    update: Callable[..., Any], names: tuple[str, ...], fixed: tuple[Any, ...], columns: int, on_cpu: bool
) -> Callable[[Tensor, Sequence[Row]], Sequence[Tensor] | None]:
    def several(values: Tensor, *tensors: Tensor) -> Sequence[Tensor] | None:
        params, grads, *state = (list(tensors[column::columns]) for column in range(columns))
        wide, wide_grads = ([t.to(values.dtype) for t in ts] for ts in (params, grads))
        changing = dict(zip(names, values.unbind(), strict=True))
        parts: Sequence[Tensor] | None = update(wide, wide_grads, *state, **changing, **dict(fixed))
        for p, w in zip(params, wide, strict=True):
            if p.dtype != w.dtype:
                p.copy_(w)
        return parts

    # Code of its own, or dynamo would count the functions made here as recompilations of one.
    several.__code__ = several.__code__.replace(co_name=update.__name__)
    fast = torch.compile(several, fullgraph=True, dynamic=True, options=ALONE if on_cpu else None)
    compiling, known = threading.Lock(), set()

    @functools.wraps(several)
    def padded(values: Tensor, rows: Sequence[Row]) -> Sequence[Tensor] | None:
        kind = (values.device, *(t.dtype for t in rows[0]))
        if kind not in known:
            with compiling:
                if kind not in known:
                    start = time.perf_counter()
                    fast(values, *itertools.chain.from_iterable(_stand_ins(rows[0], TOGETHER)))
                    _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - start)
                    known.add(kind)
        full = [*rows, *_stand_ins(rows[0], TOGETHER - len(rows))]
        return fast(values, *itertools.chain.from_iterable(full))

    return padded


def _stand_ins(row: Row, count: int) -> list[Row]:
    """Return rows like one, short and of different lengths: equal ones would be taken to be so always."""
    return [tuple(t.new_ones(t.shape if t.numel() == 1 else 64 * (2 + i)) for t in row) for i in range(count)]
