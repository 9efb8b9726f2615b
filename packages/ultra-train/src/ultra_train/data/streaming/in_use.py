"""Which windows of a folder are read, by any process, so that nobody removes them."""

from __future__ import annotations

import os
import socket
import weakref
from pathlib import Path

from ultra_train.data.token_cache.claims import Claims
from ultra_train.system.files import is_full_disk

PATTERN = "used-*.claim"


class WindowsInUse:
    """Marks the windows that a process reads, by claims that end with the process.

    Args:
        directory: the folder of the stream; it exists.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._claims = Claims(directory).__enter__()
        for path in directory.glob(PATTERN):  # of readers that were killed
            if not self._claims.is_taken(path.stem):
                path.unlink(missing_ok=True)
        self._owner = os.getpid()
        self._marked: list[int] = []
        self.close = weakref.finalize(self, _close, self._claims, self._owner)

    def begin(self, number: int) -> None:
        """Mark a window; before it is looked for, so that it is not removed in between.

        On a full disk it stays unmarked: this run removes no window near its position, and it goes on.
        """
        if number in self._marked or os.getpid() != self._owner:
            return
        try:
            self._claims.take(self._name(number))
        except OSError as error:
            if not is_full_disk(error):
                raise
        else:
            self._marked.append(number)

    def come_to(self, number: int) -> None:
        """Take the marks from the windows that were marked before this one."""
        while number in self._marked and self._marked[0] != number:
            self._claims.release(self._name(self._marked.pop(0)))

    def of_all(self) -> set[int]:
        """Return the windows that living processes have marked."""
        names = [path.stem for path in self._directory.glob(PATTERN)]
        return {int(name.split("-")[1]) for name in names if self._claims.is_taken(name)}

    def _name(self, number: int) -> str:
        return f"used-{number}-{self._owner}-{id(self)}-{socket.gethostname()}"


def _close(claims: Claims, owner: int) -> None:
    if os.getpid() == owner:  # and not in a fork of it
        claims.__exit__(None, None, None)
