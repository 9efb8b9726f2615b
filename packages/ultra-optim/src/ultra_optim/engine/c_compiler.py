"""The C compiler of the system: where it is, and functions that it compiles."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

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
"""Vector instructions of this machine and fused multiply-adds; infinities and NaN follow IEEE 754."""


class BuildError(Exception):
    """A loop could not be compiled or loaded."""


def build(text: str) -> Callable[..., None]:
    """Compile a source whose function is called ``update``, and load it.

    Raises:
        BuildError: with the command and its output.
    """
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            code, library = Path(folder, "update.c"), Path(folder, "update.so")
            code.write_text(text)
            command = [*find_compiler(), *FLAGS, str(code), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
            function: Callable[..., None] = ctypes.CDLL(str(library)).update
    except (OSError, ValueError, AttributeError) as error:
        raise BuildError(f"{type(error).__name__}: {error}") from error
    function.restype = None  # type: ignore[attr-defined]
    return function


def find_compiler() -> tuple[str, ...]:
    """Return the command of the C compiler: the environment variable CC, or the system's; empty for none."""
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
