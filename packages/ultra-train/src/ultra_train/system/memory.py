"""The memory that processes took."""

from __future__ import annotations

import sys


def peak_resident(*, of_children: bool = False) -> int | None:
    """Return the peak resident memory of this process in bytes; None where it is not known (Windows).

    Args:
        of_children: return that of the child process, of those that have ended, that took the most instead.
    """
    try:
        import resource
    except ImportError:
        return None
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
