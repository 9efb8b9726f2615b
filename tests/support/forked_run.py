"""A training run in a process of its own, to be killed, interrupted and watched."""

from __future__ import annotations

import os
import pty
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


class ForkedRun:
    """A run in a forked process, which need not import torch again; the leader of a session of its own."""

    def __init__(
        self,
        arguments: list[str],
        output: Path,
        terminal: bool = False,
        pipe: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.output = output
        self.terminal = None
        if terminal:
            self.pid, self.terminal = pty.fork()
        else:
            self.pid = os.fork()
        if not self.pid:
            os.environ |= environment or {}
            self._run(arguments, terminal, pipe)

    def _run(self, arguments: list[str], terminal: bool, pipe: int | None) -> None:
        from ultra_train.callbacks.progress import ProgressCallback
        from ultra_train.cli.app import main

        code = 99
        try:
            if not terminal:
                os.setsid()
                file = os.open(self.output, os.O_CREAT | os.O_WRONLY) if pipe is None else pipe
                for descriptor in (1, 2):
                    os.dup2(file, descriptor)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            ProgressCallback.on_step_end = lambda *args, **kwargs: time.sleep(0.05)
            code = main(arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until the run has come so far."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.text
            time.sleep(0.01)

    def ended(self) -> int:
        """Wait for its end and return the exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def text(self) -> str:
        """What it printed."""
        return self.output.read_text()

    @property
    def children(self) -> list[int]:
        """Its workers."""
        return [int(n) for n in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
