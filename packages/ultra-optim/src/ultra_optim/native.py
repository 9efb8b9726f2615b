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
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ultra_optim.loops import TYPES, Loop, loop_of

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
)
"""Vectors of this machine's length and fused products; infinities and NaN stay what they are."""

Form: TypeAlias = tuple[torch.dtype, tuple[bool, ...]]
"""The dtype of a row, and for each of its tensors whether it is one number for all elements."""


def form_of(row: Sequence[Tensor]) -> Form | None:
    """Return the form of a row; None if there is no loop for it: its dtypes differ, or C has no such type."""
    first = row[0]
    alone = tuple([t.numel() == 1 < first.numel() for t in row])
    if first.dtype in TYPES and all(one or t.dtype is first.dtype for t, one in zip(row, alone, strict=True)):
        return first.dtype, alone
    return None


def divide(numbers: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """Return the names of numbers that may change, and other values with their names, as part of the code."""
    names = tuple(
        [n for n, value in numbers.items() if isinstance(value, float | int) and type(value) is not bool]
    )
    return names, tuple([(n, value) for n, value in numbers.items() if n not in names])


def call(
    update: Callable[..., Any],
    form: Form,
    rows: Sequence[Sequence[Tensor]],
    numbers: Mapping[str, Any],
    start: int = 0,
    stop: int | None = None,
) -> Sequence[Tensor] | None:
    """Do as ``update(parameters, gradients, states, ..., **numbers)`` does, without Python's lock.

    Args:
        update: is marked, see :func:`ultra_optim.compiled.compilable`.
        form: of all rows.
        rows: each a parameter, its gradient and state, contiguous.
        numbers: floats may be others in every call; other values are part of the code.
        start: the first element of the rows, seen as flat.
        stop: one after the last; None for all of them.

    Returns:
        what the update returns.
    """
    dtype, alone = form
    names, fixed = divide(numbers)
    kernel = _kernel(update, alone, names, fixed, dtype)
    skipped = start * dtype.itemsize
    arrays, values, lengths = [], [], []
    changing = [numbers[name] for name in names]
    for row in rows:
        values += changing
        for t, one in zip(row, alone, strict=True):
            if one:
                values.append(float(t))
            else:
                arrays.append(t.data_ptr() + skipped)
        lengths.append((row[0].numel() if stop is None else stop) - start)
    results = (ctypes.c_double * (len(rows) * kernel.loop.results))()
    kernel.function(
        (ctypes.c_void_p * len(arrays))(*arrays),
        (ctypes.c_double * len(values))(*values),
        results,
        (ctypes.c_longlong * len(lengths))(*lengths),
        ctypes.c_longlong(len(lengths)),
    )
    if start == 0:
        torch.autograd.graph.increment_version([row[0] for row in rows])  # as in-place operations do
    if kernel.loop.shape is None:
        return None
    return torch.tensor(list(results), dtype=dtype).view(len(rows), *kernel.loop.shape).unbind()


class Kernel(NamedTuple):
    """A loop and the function that its source was compiled to."""

    loop: Loop
    function: Callable[..., None]


_kernels: dict[Any, Kernel] = {}


def _kernel(
    update: Callable[..., Any],
    alone: tuple[bool, ...],
    names: tuple[str, ...],
    fixed: tuple[tuple[str, Any], ...],
    dtype: torch.dtype,
) -> Kernel:
    key = (update, alone, names, fixed, dtype)
    if (found := _kernels.get(key)) is None:
        with _making:
            if (found := _kernels.get(key)) is None:
                start = time.perf_counter()
                loop = loop_of(update, alone, names, dict(fixed), dtype)
                found = _kernels[key] = Kernel(loop, _build(loop.source))
                _log.info("compiled %s in %.1f s", update.__name__, time.perf_counter() - start)
    return found


def _build(source: str) -> Callable[..., None]:
    """Compile a source whose function is called ``update``, and load it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        code, library = Path(folder, "update.c"), Path(folder, "update.so")
        code.write_text(source)
        command = [*compiler(), *FLAGS, "-o", str(library), str(code)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}{source}")
        function: Callable[..., None] = ctypes.CDLL(str(library)).update
    function.restype = None  # type: ignore[attr-defined]
    return function


def works() -> bool:
    """Whether there is a compiler whose functions can be loaded."""
    return not _complaint(compiler())


@functools.cache
def _complaint(command: tuple[str, ...]) -> str:
    """Return what is wrong with a compiler; nothing if it works."""
    try:
        if command:
            _build("void update(void) {}\n")
            return ""
        found = "a C compiler, and there is none on the PATH"
    except (OSError, RuntimeError) as error:
        found = f"a C compiler that works: {error}"
    _log.info("element-wise updates are not compiled, which needs %s", found)
    return found


def compiler() -> tuple[str, ...]:
    """Return a C compiler, that which the environment variable CC names or the system's; empty for none."""
    named = shlex.split(os.environ.get("CC", ""))
    for name in named[:1] or ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return path, *named[1:]
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
        named = f" (where it is {os.environ['CC']})" if os.environ.get("CC") else ""
        raise ValueError(
            f"{who}: compile=True needs {problem}. Install cc, gcc or clang, name another in the environment "
            f"variable CC{named}, or leave compile out"
        )
