"""Making windows ahead of training, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import warnings
import weakref
from multiprocessing.connection import Connection
from typing import Any, Protocol

import attrs

from ultra_core.errors import UltraError
from ultra_train.data.cache import Notify
from ultra_train.data.errors import DataError
from ultra_train.data.streaming.maker import WindowMaker, WindowSettings
from ultra_train.data.streaming.windows import WindowFolder
from ultra_train.data.token_cache.assembly import peak_memory
from ultra_train.data.token_cache.text_encoder import exit_with_parent
from ultra_train.system.signals import ignore_interrupts

_POLL = 0.02


class Ahead(Protocol):
    """Makes the windows of a stream."""

    def wait_for(self, number: int) -> None:
        """Return when a window is there.

        Raises:
            DataError: it cannot be made, or the stream has no such window.
        """
        ...

    def close(self) -> None:
        """End what makes windows."""
        ...


class OnDemand:
    """Makes every window in this process when it is needed."""

    def __init__(self, folder: WindowFolder, settings: WindowSettings) -> None:
        self._maker = WindowMaker(folder, settings).__enter__()
        # also at exit: threads that read for it must not outlive the interpreter
        self._finalize = weakref.finalize(self, _give_up, self._maker, os.getpid())

    def close(self) -> None:
        """Give up what is claimed."""
        self._finalize()

    def wait_for(self, number: int) -> None:
        """Return when a window is there; see ``Ahead``."""
        while not self._maker.make(number):
            self._maker.check_exists(number)
            time.sleep(_POLL)


class ProcessAhead:
    """Makes windows in another process, a number of them ahead of the one that is needed.

    Args:
        folder: the folder of the stream.
        settings: how windows are made.
        ahead: number of windows that are made ahead.
        say: is called with lines for the user.
    """

    def __init__(self, folder: WindowFolder, settings: WindowSettings, ahead: int, say: Notify) -> None:
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._folder, self._say = folder, say
        self._fault: str | None = None
        self._wanted = context.Value("q", 0)
        self._lines, remote = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_make_ahead, args=(folder, settings, ahead, self._wanted, remote, os.getpid())
        )
        with warnings.catch_warnings():
            # The child uses none of the threads that a fork does not copy.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        remote.close()
        # also at exit, before multiprocessing waits for it
        self._finalize = weakref.finalize(self, _end, self._process, os.getpid())

    def close(self) -> None:
        """End the process."""
        self._finalize()

    def wait_for(self, number: int) -> None:
        """Return when a window is there; see ``Ahead``.

        An error in a window that is made ahead is raised when training comes to it.
        """
        self._wanted.value = number
        while not self._folder.has(number):
            self._listen(_POLL)
            if self._fault is not None:
                raise DataError(self._fault)
        while self._listen(0.0):
            pass

    def _listen(self, seconds: float) -> bool:
        """Say what the process says, or keep why it ended; return whether there was anything."""
        if self._fault is not None or not self._lines.poll(seconds):
            return False
        try:
            kind, line = self._lines.recv()
        except EOFError:
            kind, line = "error", self._why_it_ended()
        if kind == "error":
            self._fault = line
        else:
            self._say(line)
        return True

    def _why_it_ended(self) -> str:
        self._process.join()
        if self._process.exitcode >= 0:
            return "The process that tokenises ahead ended with an error, which is printed above."
        return (
            "The process that tokenises ahead was killed, usually because memory ran out; use fewer "
            "processes (training.num_workers) or smaller windows (training.stream_window_documents)."
        )


def _give_up(maker: WindowMaker, owner: int) -> None:
    if os.getpid() == owner:  # and not in a fork of it
        maker.__exit__(None, None, None)


def _end(process: Any, owner: int) -> None:
    if os.getpid() == owner:  # and not in a fork of it
        process.terminate()
        process.join()


def _make_ahead(
    folder: WindowFolder, settings: WindowSettings, ahead: int, wanted: Any, lines: Connection, parent: int
) -> None:
    ignore_interrupts()
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    texts = attrs.evolve(settings.texts, notify=lambda line: lines.send(("line", line)))
    try:
        with WindowMaker(folder, attrs.evolve(settings, texts=texts)) as maker:
            first = True
            while True:
                made = _make_next(maker, int(wanted.value), ahead)
                maker.check_exists(int(wanted.value))
                if made and first:
                    lines.send(("line", peak_memory(settings.num_workers)))
                    first = False
                if not made:
                    time.sleep(_POLL)
    except UltraError as error:
        lines.send(("error", str(error)))


def _make_next(maker: WindowMaker, wanted: int, ahead: int) -> bool:
    """Make the first window that is not there of those that are needed soon; return whether one was made."""
    number = wanted
    for _ in range(ahead + 1):
        if not maker.folder.has(number) and maker.make(number):
            return True
        number = 0 if maker.last is not None and number >= maker.last else number + 1
    return False
