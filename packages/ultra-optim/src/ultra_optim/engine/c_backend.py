"""Element-wise updates on a CPU as loops of C, compiled once for all shapes and learning rates."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor

from ultra_optim.engine.c_codegen import LoopSource, source_of
from ultra_optim.engine.c_compiler import BuildError, build, find_compiler
from ultra_optim.engine.c_operations import TYPES
from ultra_optim.engine.compilation import split_numbers

_log = logging.getLogger(__name__)
_lock = threading.Lock()


class Signature(NamedTuple):
    """The properties of a row that determine the code of its loop.

    Attributes:
        dtype: dtype of the tensors.
        scalars: for each tensor of a row, whether it is one number for all elements.
    """

    dtype: torch.dtype
    scalars: tuple[bool, ...]


def signature_of(row: Sequence[Tensor]) -> Signature | None:
    """Return the signature of a row; None if a C loop cannot take its dtypes or its memory."""
    dtype, size = row[0].dtype, row[0].numel()
    if dtype not in TYPES or row[1].is_neg() or row[1]._is_zerotensor():
        return None
    scalars = []
    for t in row:
        is_scalar = t.numel() != size
        if t.dtype is not dtype and not is_scalar:
            return None
        scalars.append(is_scalar)
    return Signature(dtype, tuple(scalars))


@attrs.frozen
class Loop:
    """A compiled loop with the numbers of an update; any thread may call it, and it releases the GIL.

    Attributes:
        source: the C source.
        function: the compiled function.
        scalars: for each column, whether it has one element.
        values: the numbers of the update.
    """

    source: LoopSource
    function: Callable[..., None]
    scalars: tuple[bool, ...]
    values: list[float]

    def __call__(
        self, rows: Sequence[Sequence[Tensor]], start: int = 0, stop: int | None = None
    ) -> Sequence[Tensor] | None:
        """Compute what ``update(params, grads, *state, **numbers)`` computes.

        Args:
            rows: each a parameter, its gradient and state, contiguous, of the signature of the loop.
            start: first element of the rows, seen as flat.
            stop: one after the last; None for all elements.

        Returns:
            what the update returns.
        """
        dtype = rows[0][0].dtype
        offset = start * dtype.itemsize
        arrays, values, lengths = [], [], []
        for row in rows:
            values += self.values
            for t, is_scalar in zip(row, self.scalars, strict=True):
                if is_scalar:
                    values.append(float(t))
                else:
                    arrays.append(t.data_ptr() + offset)
            lengths.append((row[0].numel() if stop is None else stop) - start)
        results = (ctypes.c_double * (len(rows) * self.source.results))()
        self.function(
            (ctypes.c_void_p * len(arrays))(*arrays),
            (ctypes.c_double * len(values))(*values),
            results,
            (ctypes.c_longlong * len(lengths))(*lengths),
            ctypes.c_longlong(len(lengths)),
        )
        if start == 0:
            torch.autograd.graph.increment_version([row[0] for row in rows])  # as in-place operations do
        if self.source.shape is None:
            return None
        return (
            torch.tensor(list(results), dtype=dtype, device="cpu")
            .view(len(rows), *self.source.shape)
            .unbind()
        )


def loop_for(update: Callable[..., Any], signature: Signature, numbers: Mapping[str, Any]) -> Loop | None:
    """Return the loop of an update for rows of a signature; None if it cannot be compiled.

    Args:
        update: a marked update, see :func:`ultra_optim.engine.compilation.compilable`.
        signature: the signature of the rows.
        numbers: keyword arguments; only flags are part of the code.
    """
    changing, fixed = split_numbers(numbers)
    key = (update, signature, tuple(changing), fixed)
    if key not in _loops:
        with _lock:
            if key not in _loops:
                started = time.perf_counter()
                names = tuple(changing)
                source = source_of(update, signature.scalars, names, dict(fixed), signature.dtype)
                try:
                    _loops[key] = source, build(source.text)
                except BuildError as error:
                    _loops[key] = None
                    _log.warning("%s is left to torch's operations: %s", update.__name__, error)
                _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - started)
    made = _loops[key]
    return None if made is None else Loop(*made, signature.scalars, list(changing.values()))


_loops: dict[Any, tuple[LoopSource, Callable[..., None]] | None] = {}


def compiler_works() -> bool:
    """Whether there is a C compiler whose functions can be loaded and are correct."""
    return not _problem(find_compiler())


@functools.cache
def _problem(command: tuple[str, ...]) -> str:
    """Return what is wrong with a compiler; an empty string if its test loop works."""
    found = ""
    try:
        if not command:
            found = "a C compiler, and there is none on the PATH"
        elif not _test_loop_is_correct():
            found = f"a C compiler whose loops are correct, and those of {command[0]} are not"
    except BuildError as error:
        found = f"a C compiler that works: {error}"
    if found:
        _log.info("element-wise updates are not compiled, which needs %s", found)
    return found


def _test_loop_is_correct() -> bool:
    source = source_of(_test_update, (False, False, True), ("lr",), {}, torch.float32)
    loop = Loop(source, build(source.text), (False, False, True), [0.5])
    ours, theirs = (
        [torch.linspace(-3, 2, 1501, device="cpu"), torch.linspace(1, 2, 1501, device="cpu")]
        for _ in range(2)
    )
    scale = torch.full((), 3.0, device="cpu")
    found = loop([[*ours, scale]]) or []
    expected = _test_update(*([t] for t in (*theirs, scale)), lr=0.5)
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip([*ours, *found], [*theirs, *expected], strict=True)
    )


def _test_update(params: list[Tensor], grads: list[Tensor], scales: list[Tensor], *, lr: Any) -> list[Tensor]:
    """Use operations of several kinds."""
    params[0].sub_(grads[0].sign() * scales[0] * lr).clamp_(min=-4.0)
    return [(params[0].abs().sqrt() / grads[0]).sum()]


def is_used(compile: bool | None) -> bool:
    """Whether updates on a CPU become C loops with this value of the option ``compile``."""
    return compiler_works() if compile is None else compile


def check_compiler(name: str) -> None:
    """Find a C compiler and test it.

    Raises:
        ValueError: there is none, or it fails.
    """
    if problem := _problem(find_compiler()):
        where = f" (where it is {os.environ['CC']})" if os.environ.get("CC") else ""
        raise ValueError(
            f"{name}: compile=True needs {problem}. Install cc, gcc or clang, name another compiler in the "
            f"environment variable CC{where}, or leave compile out"
        )


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
