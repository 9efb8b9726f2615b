"""Element-wise updates on a CPU as loops of C, compiled once for all shapes and rates."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor

from ultra_optim.engine.c_codegen import TYPES, Source, source_of

_log = logging.getLogger(__name__)
_making = threading.Lock()

FLAGS = (
    "-O3",
    "-shared",
    "-fPIC",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-march=native" if platform.machine() in ("x86_64", "AMD64", "i686") else "-mcpu=native",
    "-w",
    "-std=gnu11",
    "-xc",
)
"""Vectors of this machine's length and fused products; infinities and NaN stay what they are."""

Form: TypeAlias = tuple[torch.dtype, tuple[bool, ...]]
"""The dtype of a row, and for each of its tensors whether it is one number for all elements."""


def form_of(row: Sequence[Tensor]) -> Form | None:
    """Return the form of a row; None if there is no loop for it: its dtypes differ, or C has no such type."""
    dtype, size = row[0].dtype, row[0].numel()
    if dtype not in TYPES or row[1].is_neg() or row[1]._is_zerotensor():  # memory that means something else
        return None
    alone = []
    for t in row:
        one = t.numel() != size
        if t.dtype is not dtype and not one:
            return None
        alone.append(one)
    return dtype, tuple(alone)


def divide(numbers: Mapping[str, Any]) -> tuple[dict[str, float], tuple[tuple[str, Any], ...]]:
    """Return the numbers that may change by their names, and names and values that are part of the code."""
    changing, fixed = {}, []
    for name, value in numbers.items():
        if value is None or isinstance(value, bool | str):
            fixed.append((name, value))
        else:
            changing[name] = float(value)
    return changing, tuple(fixed)


@attrs.frozen
class Loop:
    """A loop of C with numbers; call it in any thread, Python's lock is free while it runs.

    Attributes:
        source: of the loop.
        function: compiled from it.
        alone: for each column, whether it has one element.
        values: the update's numbers.
    """

    source: Source
    function: Callable[..., None]
    alone: tuple[bool, ...]
    values: list[float]

    def __call__(
        self, rows: Sequence[Sequence[Tensor]], start: int = 0, stop: int | None = None
    ) -> Sequence[Tensor] | None:
        """Do as the update does, ``update(parameters, gradients, states, ..., **numbers)``.

        Args:
            rows: each a parameter, its gradient and state, contiguous, of the form the loop was made for.
            start: the first element of the rows, seen as flat.
            stop: one after the last; None for all of them.

        Returns:
            what the update returns.
        """
        dtype = rows[0][0].dtype
        skipped = start * dtype.itemsize
        arrays, values, lengths = [], [], []
        for row in rows:
            values += self.values
            for t, one in zip(row, self.alone, strict=True):
                if one:
                    values.append(float(t))
                else:
                    arrays.append(t.data_ptr() + skipped)
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


def loop_for(update: Callable[..., Any], form: Form, numbers: Mapping[str, Any]) -> Loop | None:
    """Return the loop that does what an update does to rows of a form; None if it cannot be compiled.

    Args:
        update: is marked, see :func:`ultra_optim.engine.compiled.compilable`.
        form: of the rows.
        numbers: may be others in every call, unless they are flags.
    """
    changing, fixed = divide(numbers)
    key = (update, form, tuple(changing), fixed)
    if key not in _made:
        with _making:
            if key not in _made:
                begun = time.perf_counter()
                source = source_of(update, form[1], tuple(changing), dict(fixed), form[0])
                try:
                    _made[key] = source, _build(source.text)
                except BuildError as error:
                    _made[key] = None
                    _log.warning("%s is left to torch's operations: %s", update.__name__, error)
                _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - begun)
    made = _made[key]
    return None if made is None else Loop(*made, form[1], list(changing.values()))


_made: dict[Any, tuple[Source, Callable[..., None]] | None] = {}


class BuildError(Exception):
    """A loop could not be compiled or loaded."""


def _build(text: str) -> Callable[..., None]:
    """Compile a source whose function is called ``update``, and load it.

    Raises:
        BuildError: saying what was called and what it answered.
    """
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            code, library = Path(folder, "update.c"), Path(folder, "update.so")
            code.write_text(text)
            command = [*compiler(), *FLAGS, str(code), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
            function: Callable[..., None] = ctypes.CDLL(str(library)).update
    except (OSError, ValueError, AttributeError) as error:
        raise BuildError(f"{type(error).__name__}: {error}") from error
    function.restype = None  # type: ignore[attr-defined]
    return function


def works() -> bool:
    """Whether there is a compiler whose functions can be loaded and are right."""
    return not _complaint(compiler())


@functools.cache
def _complaint(command: tuple[str, ...]) -> str:
    """Return what is wrong with a compiler; nothing if a loop of its works."""
    found = ""
    try:
        if not command:
            found = "a C compiler, and there is none on the PATH"
        elif not _is_right():
            found = f"a C compiler whose loops compute what they should, and those of {command[0]} do not"
    except BuildError as error:
        found = f"a C compiler that works: {error}"
    if found:
        _log.info("element-wise updates are not compiled, which needs %s", found)
    return found


def _is_right() -> bool:
    source = source_of(_trial, (False, False, True), ("rate",), {}, torch.float32)
    loop = Loop(source, _build(source.text), (False, False, True), [0.5])
    ours, theirs = (
        [torch.linspace(-3, 2, 1501, device="cpu"), torch.linspace(1, 2, 1501, device="cpu")]
        for _ in range(2)
    )
    scale = torch.full((), 3.0, device="cpu")
    found = loop([[*ours, scale]]) or []
    expected = _trial(*([t] for t in (*theirs, scale)), rate=0.5)
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip([*ours, *found], [*theirs, *expected], strict=True)
    )


def _trial(params: list[Tensor], grads: list[Tensor], scales: list[Tensor], *, rate: Any) -> list[Tensor]:
    """Do a little of everything."""
    params[0].sub_(grads[0].sign() * scales[0] * rate).clamp_(min=-4.0)
    return [(params[0].abs().sqrt() / grads[0]).sum()]


def compiler() -> tuple[str, ...]:
    """Return a C compiler, that which the environment variable CC names or the system's; empty for none."""
    return _found(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@functools.cache
def _found(named: str, path: str) -> tuple[str, ...]:
    try:
        own, *arguments = shlex.split(named) or [""]
    except ValueError:  # a quotation that does not end
        own, arguments = named, []
    for name in [own] if own else ["cc", "gcc", "clang"]:
        if command := shutil.which(name, path=path):
            return command, *arguments
    return ()


def wanted(compile: bool | None) -> bool:
    """Whether updates on a CPU become loops with this value of the option ``compile``."""
    return works() if compile is None else compile


def check_compiler(who: str) -> None:
    """Look for a compiler and try it.

    Raises:
        ValueError: there is none, or it fails.
    """
    if problem := _complaint(compiler()):
        where = f" (where it is {os.environ['CC']})" if os.environ.get("CC") else ""
        raise ValueError(
            f"{who}: compile=True needs {problem}. Install cc, gcc or clang, name another in the environment "
            f"variable CC{where}, or leave compile out"
        )


def _after_fork() -> None:
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
