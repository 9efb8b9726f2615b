"""Freed memory stays in the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from ultra_train.system.heap import keep_freed_memory

PAGE_FAULTS_OF_A_SECOND_BLOCK = """
import ctypes, resource
from ultra_train.system.heap import keep_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def faults():
    before, size = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, 64 * 2**20
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
print(faults(), faults())
"""
"""A process of its own: in one where an allocation ever failed, the library serves the thread elsewhere."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the GNU C library has these settings")
def test_the_pages_of_freed_memory_serve_the_next_allocation() -> None:
    command = [sys.executable, "-c", PAGE_FAULTS_OF_A_SECOND_BLOCK]
    first, second = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert first > 1000
    assert second < 100


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
