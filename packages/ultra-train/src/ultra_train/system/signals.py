"""SIGINT, SIGTERM and SIGHUP during a run, in its own process and in its workers."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

NUMBERS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))
SAME_REQUEST = 1.0
"""Seconds within which a repeated signal is the first one again: wrappers (``timeout``, ``uv run``, systemd)
send it to the process and to its group."""


class Interrupted(KeyboardInterrupt):
    """A run that a signal stopped.

    Args:
        message: what the run has printed of it already; empty when nothing is printed yet.
        number: the signal.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.message = message
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name


class Signals:
    """Takes signals over for a ``with`` block; what is ignored already (``nohup``) stays ignored.

    While ``waiting`` is set the first signal is only noted in ``received``; a second one, and every one at
    other times, raises :class:`Interrupted`. Whatever error follows from that, in threads that were about to
    start or workers that the same signal ended, leaves the block as :class:`Interrupted` too.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.waiting = False
        self._ending = False
        self._swallowed = False
        self._at = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            taken = [n for n in NUMBERS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
            self._before = {number: signal.signal(number, self._handle) for number in taken}
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            self._before, sys.unraisablehook = {}, self._hook
        if self._ending and self.received is not None and isinstance(error, Exception):
            raise Interrupted(number=self.received) from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a forked worker that has not come to ignore it yet; its parent acts for both
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if self._swallowed:
            self._swallowed = False
        elif self.received is None:
            self.received, self._at = number, time.monotonic()
            if self.waiting:
                return
        elif time.monotonic() - self._at < SAME_REQUEST:
            return
        self._ending = True
        raise Interrupted(number=number)

    def _unraisable(self, unraisable: Any) -> None:
        """Raise it again, soon, where it came up in a finaliser or around a fork, which raise nothing."""
        if isinstance(unraisable.exc_value, Interrupted) and os.getpid() == self._process:
            self._swallowed = True
            main, number = threading.main_thread().ident or 0, unraisable.exc_value.number
            threading.Timer(0.05, lambda: signal.pthread_kill(main, number)).start()
        else:
            self._hook(unraisable)


def _leave_terminal() -> None:
    """Write into nothing from now on where the terminal is gone: every line would be an error."""
    import termios

    for descriptor in (0, 1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] != errno.EIO:  # no terminal, but a file or a pipe, which is still there
                continue
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor)
            os.close(nothing)


def shield_worker(worker: int = 0) -> None:
    """Leave signals to the parent in a worker of a data loader, which must hand out its batches still.

    A terminal, systemd and Slurm signal every process of a run. Only a SIGTERM from the parent itself ends a
    worker; workers end by themselves when their parent does.

    Args:
        worker: its number, which data loaders pass.
    """
    sys.excepthook = _not_of_the_connection
    if not hasattr(signal, "sigwaitinfo"):
        ignore_interrupts()
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before it is set to end the process
    ignore_interrupts()
    threading.Thread(target=_end_for, args=(os.getppid(),), daemon=True).start()


def _not_of_the_connection(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error of a worker unless its parent has gone, which multiprocessing takes for one."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_for(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in (parent, os.getpid()):
        pass
    os._exit(0)


def ignore_interrupts() -> None:
    """Ignore SIGINT and SIGHUP, and take SIGTERM as every process does, in a worker process."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


def name_of(error: BaseException) -> str:
    """Return the name of the signal behind a ``KeyboardInterrupt``."""
    return error.name if isinstance(error, Interrupted) else signal.Signals(signal.SIGINT).name


def exit_code(error: BaseException) -> int:
    """Return 128 + the signal behind a ``KeyboardInterrupt``, as shells do."""
    return 128 + (error.number if isinstance(error, Interrupted) else int(signal.SIGINT))
