"""Waiting for room on a full disk instead of losing a run.

A write that finds the disk full is tried again when there is room. It has to leave nothing half-written when
it fails, as everything in ``files`` does.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from ultra_core.errors import UltraError
from ultra_train.system.files import is_full_disk
from ultra_train.system.signals import Interrupted, Signals

T = TypeVar("T")
REMIND = 60.0
"""Seconds between two lines about a full disk, and between two attempts where no room is seen (quotas)."""
POLL = 1.0
"""Seconds between two looks at the free space and at the signals."""


class DiskFullError(UltraError):
    """There is no room for what is to be written; nothing half-written is left."""


class DiskSpace:
    """Repeats writes that find the disk full until there is room, with a line every minute.

    A signal that arrives during the pause ends it and the run; what was to be written is not written.

    Args:
        say: prints a line.
        signals: the signals of the run.
        agree: returns whether any process of the run says so. Every process calls it at the same time, again
            and again during a pause, so that none of them gives up on the others.
        sleep: waits for a number of seconds.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None] = print,
        *,
        signals: Signals | None = None,
        agree: Callable[[bool], bool] = bool,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.say = say
        self.signals = signals
        self.agree = agree
        self.sleep = sleep
        self.clock = clock

    def write(self, write: Callable[[], T], what: str, folder: Path, need: int = 0) -> T:
        """Write something, and return what the function returns; this process alone waits for room.

        Args:
            write: writes it completely or not at all, and is called again when the disk was full.
            what: what it is, for messages: "the checkpoint of step 8".
            folder: where it goes.
            need: bytes that it takes, roughly; 0 where that is not known.

        Raises:
            Interrupted: a signal arrived during the pause.
        """
        return self._write(_Attempt(write, what, folder, need), bool)

    def write_together(self, write: Callable[[], T], what: str, folder: Path, need: int = 0) -> T:
        """Write something while every process of the run calls this; all of them wait for one without room.

        Processes that write nothing pass a function that does nothing. The arguments are as in :meth:`write`.
        """
        return self._write(_Attempt(write, what, folder, need), self.agree)

    def _write(self, attempt: _Attempt[T], agree: Callable[[bool], bool]) -> T:
        attempt.run(self.clock())
        paused, asked = self.clock(), self._received
        said = -float("inf")
        while agree(attempt.failed):
            if attempt.failed and self.clock() - said >= REMIND:
                said = self.clock()
                self.say(attempt.line(said - paused))
            if agree(self._received != asked):
                self.say(f"stopped while the disk was full: {attempt.what} is not written")
                raise Interrupted(number=self._received or signal.SIGTERM)
            self.sleep(POLL)
            if attempt.failed and attempt.is_due(self.clock()):
                attempt.run(self.clock())
                if not attempt.failed:
                    self.say(f"there is room again for {attempt.what}")
        return attempt.result()

    @property
    def _received(self) -> int | None:
        return None if self.signals is None else self.signals.received


class _Attempt(Generic[T]):
    """The newest attempt of a write."""

    def __init__(self, write: Callable[[], T], what: str, folder: Path, need: int) -> None:
        self.what = what
        self._write = write
        self._folder = folder
        self._need = need
        self._results: list[T] = []
        self._error: Exception | None = None
        self._free = 0
        self._at = 0.0

    @property
    def failed(self) -> bool:
        """Whether the disk was full."""
        return self._error is not None

    def run(self, now: float) -> None:
        """Write; errors other than a full disk pass."""
        self._at, self._error = now, None
        try:
            self._results = [self._write()]
        except Exception as error:
            if not (isinstance(error, DiskFullError) or is_full_disk(error)):
                raise
            self._error = error
            self._folder = _place(error) or self._folder
            self._free = free_bytes(self._folder)

    def is_due(self, now: float) -> bool:
        """Whether another attempt promises something: there is more room, or a minute has passed."""
        free = free_bytes(self._folder)
        return (free > self._free and free >= self._need) or now - self._at >= REMIND

    def line(self, seconds: float) -> str:
        """Return the line about a pause that lasts this long."""
        since = f" for {seconds / 60:.0f} min" if seconds >= REMIND else ""
        if isinstance(self._error, DiskFullError):
            reason = str(self._error).rstrip(".")
        else:
            size = f"it takes about {megabytes(self._need)}, and " if self._need else ""
            free = megabytes(free_bytes(self._folder))
            reason = f"the disk or the quota is full; {size}{free} are free in {self._folder}"
        rest = "The run goes on when there is room; Ctrl-C stops it."
        return f"paused{since}: {self.what} cannot be written: {reason}. {rest}"

    def result(self) -> T:
        """Return what the function returned."""
        return self._results[0]


def _place(error: Exception) -> Path | None:
    """Return the folder of the file that could not be written, if the error names it."""
    named = (getattr(error, "filename2", None), getattr(error, "filename", None))  # of a copy, the second
    return next((Path(name).parent for name in named if isinstance(name, str)), None)


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that holds a folder, or its nearest parent that exists."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def megabytes(count: int) -> str:
    """Return a number of bytes for messages."""
    return f"{count / 1e6:,.1f} MB"
