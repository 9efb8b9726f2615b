"""Dividing work among the processes of a run, by files in a folder that all of them see.

Nobody waits for a process that died: a claim that its owner no longer renews, or whose process on this
machine has ended, is taken over. In the worst case two processes do the same work, with the same result.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ultra_train.data.token_cache.cache_folders import is_alive
from ultra_train.system import files

RENEWED_EVERY, STALE_AFTER = 5.0, 60.0
"""Seconds; the clocks of the machines may differ by less than their difference."""


class Claims:
    """The claims of one process; a context manager, which renews them while it is entered.

    Args:
        folder: a folder that all processes see; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: set[Path] = set()
        self._ended = threading.Event()
        self._owner = f"{socket.gethostname()} {os.getpid()}"

    def __enter__(self) -> Claims:
        threading.Thread(target=self._renew, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for path in list(self._held):
            path.unlink(missing_ok=True)

    def take(self, name: str) -> bool:
        """Claim a piece of work, and return whether it is ours: nobody else is at it.

        Raises:
            OSError: the claim cannot be written; none is left.
        """
        path = self._path(name)
        if self.is_taken(name):
            return path in self._held
        path.unlink(missing_ok=True)  # the claim of a process that died
        if not files.create(path):
            return False  # another process was faster
        try:
            path.write_text(self._owner)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self._held.add(path)
        return True

    def release(self, name: str) -> None:
        """Give up a claim; its work is done."""
        self._held.discard(path := self._path(name))
        path.unlink(missing_ok=True)

    def is_taken(self, name: str) -> bool:
        """Return whether a living process, or this one, has claimed a piece of work."""
        path = self._path(name)
        try:
            age = time.time() - path.stat().st_mtime
            host, _, process = path.read_text().partition(" ")
        except FileNotFoundError:
            return False
        if host == socket.gethostname() and process.isdecimal() and not is_alive(int(process)):
            return False
        return abs(age) < STALE_AFTER  # one from the future is of a clock that is wrong, and not waited for

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.claim"

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            for path in list(self._held):
                with suppress(FileNotFoundError):  # it was just released, or another process took it over
                    os.utime(path)
