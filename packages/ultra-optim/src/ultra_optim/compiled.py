"""Element-wise updates by ``torch.compile``: one pass over memory, compiled once for all shapes and rates.

The option ``compile`` of element-wise optimizers has the functions compiled that are marked with
:func:`compilable`, for long tensors on any device that ``torch.compile`` knows; short ones, those that are
not contiguous and subclasses of tensors (DTensor) stay as they were. AdamW and SGD do not have it, torch's
kernels being one pass already, nor have methods that are not element-wise.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)
_compiling: ContextVar[bool] = ContextVar("compiling", default=False)
_compilable: set[Callable[..., Any]] = set()


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


def call(update: Callable[..., Any], rows: Sequence[Sequence[Tensor]], **numbers: Any) -> list[Tensor | None]:
    """Call the compiled update on rows of a parameter, its gradient and state, contiguous and on one device.

    Floats are handed over as a tensor on that device, so that new ones need no new code; other values are
    part of the code. Low-precision parameters are widened inside.
    """
    changing = {name: value for name, value in numbers.items() if isinstance(value, float)}
    fixed = tuple((name, value) for name, value in numbers.items() if name not in changing)
    function = _function(update, tuple(changing), fixed)
    floats = list(changing.values())
    kinds = [(torch.promote_types(row[0].dtype, torch.float32), row[0].device) for row in rows]
    values = {(wide, device): torch.tensor(floats, dtype=wide, device=device) for wide, device in set(kinds)}
    return [
        function(values[kind], *(t.detach().view(-1) if t.numel() > 1 else t for t in row))
        for kind, row in zip(kinds, rows, strict=True)
    ]


@functools.cache
def _function(
    update: Callable[..., Any], names: tuple[str, ...], fixed: tuple[Any, ...]
) -> Callable[..., Any]:
    def single(values: Tensor, param: Tensor, grad: Tensor, *state: Tensor) -> Tensor | None:
        wide = param.to(values.dtype)
        lists = [[t] for t in (wide, grad.to(values.dtype), *state)]
        parts = update(*lists, **dict(zip(names, values.unbind(), strict=True)), **dict(fixed))
        if param.dtype != values.dtype:
            param.copy_(wide)
        return parts[0] if parts else None

    # Code of its own, or dynamo would count the functions made here as recompilations of one.
    single.__code__ = single.__code__.replace(co_name=update.__name__)
    fast = torch.compile(single, fullgraph=True, dynamic=True, options={"cpp.dynamic_threads": True})
    started: list[float] = []

    @functools.wraps(single)
    def timed(*args: Tensor) -> Tensor | None:
        if started:
            return fast(*args)
        started.append(time.perf_counter())
        result = fast(*args)
        _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - started[0])
        return result

    return timed
