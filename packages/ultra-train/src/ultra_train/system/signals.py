"""Handling of SIGINT, SIGTERM and SIGHUP, in the process of a run and in its workers."""

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
"""Seconds within which a repeated signal counts as the first one: wrappers (``timeout``, ``uv run``, systemd)
send it to the process and to its group."""


class Interrupted(KeyboardInterrupt):
    """Raised when a signal stops a run.

    Args:
        message: the message that the run has printed about it; empty when it has not printed any.
        number: number of the signal.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.message = message
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.number).name


class Signals:
    """Handles signals inside a ``with`` block; signals that are ignored already (``nohup``) stay ignored.

    While ``deferred`` is set, the first signal is only noted in ``received``. A second one, and every signal
    at other times, raises :class:`Interrupted`. Errors that follow from it, in threads that are just starting
    or in workers that the same signal ended, leave the block as :class:`Interrupted` too.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False
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
            return  # a forked worker that does not ignore signals yet; its parent handles it
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if self._swallowed:
            self._swallowed = False
        elif self.received is None:
            self.received, self._at = number, time.monotonic()
            if self.deferred:
                return
        elif time.monotonic() - self._at < SAME_REQUEST:
            return
        self._ending = True
        raise Interrupted(number=number)

    def _unraisable(self, unraisable: Any) -> None:
        """Send the signal again soon when its exception was lost in a finaliser or around a fork."""
        if isinstance(unraisable.exc_value, Interrupted) and os.getpid() == self._process:
            self._swallowed = True
            main, number = threading.main_thread().ident or 0, unraisable.exc_value.number
            threading.Timer(0.05, lambda: signal.pthread_kill(main, number)).start()
        else:
            self._hook(unraisable)


def _leave_terminal() -> None:
    """Discard all output from now on when the terminal is gone; every line would be an error."""
    import termios

    for descriptor in (0, 1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] != errno.EIO:  # not a terminal, but a file or a pipe, which still works
                continue
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor)
            os.close(nothing)


def shield_worker(worker: int = 0) -> None:
    """Leave signals to the parent, in a worker of a data loader, whose batches are still needed.

    A terminal, systemd and Slurm send signals to every process of a run. Only a SIGTERM from its parent ends
    a worker. Workers also end when their parent does.

    Args:
        worker: number of the worker, which data loaders pass.
    """
    sys.excepthook = _print_unless_connection_lost
    if not hasattr(signal, "sigwaitinfo"):
        ignore_interrupts()
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before its default action is restored
    ignore_interrupts()
    threading.Thread(target=_exit_when_signalled_by, args=(os.getppid(),), daemon=True).start()


def _print_unless_connection_lost(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error of a worker, unless it is that the connection to its parent was lost."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _exit_when_signalled_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in (parent, os.getpid()):
        pass
    os._exit(0)


def ignore_interrupts() -> None:
    """Ignore SIGINT and SIGHUP in a worker process, and restore the default action of SIGTERM."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


def name_of(error: BaseException) -> str:
    """Return the name of the signal behind a ``KeyboardInterrupt``."""
    return error.name if isinstance(error, Interrupted) else signal.Signals(signal.SIGINT).name


def exit_code(error: BaseException) -> int:
    """Return 128 + the signal behind a ``KeyboardInterrupt``, as shells do."""
    return 128 + (error.number if isinstance(error, Interrupted) else int(signal.SIGINT))
