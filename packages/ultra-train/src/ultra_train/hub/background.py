"""A push in a process of its own, beside the end of a run, which it can neither stop nor fail.

A process can be ended whatever it hangs in; threads of the hub's client could not, and would keep Python from
exiting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

SHORTLY = 1.0
"""Seconds for which the end of a push is awaited without a word."""
PATIENCE = 600.0
"""Seconds for which a run waits at its end for a push, and one more for every megabyte."""


class BackgroundPush:
    """Pushes a folder while the ``with`` block runs, and waits for the end of it afterwards, within bounds.

    Args:
        folder: the folder.
        repository: ``owner/name``, or ``name``.
        again: the command that pushes the folder again.
        say: prints a line.
        patience: seconds to wait at the end, at most.
    """

    def __init__(
        self,
        folder: Path,
        repository: str,
        *,
        again: str,
        say: Callable[[str], None],
        patience: float | None = None,
    ) -> None:
        self.folder = folder
        self.repository = repository
        self.again = again
        self.say = say
        self.patience = PATIENCE + _megabytes(folder) if patience is None else patience
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> BackgroundPush:
        """Start the push; it survives signals to the group of the run, which waits for it or ends it."""
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ultra_train.hub.process", str(self.folder), self.repository],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
                start_new_session=True,
            )
        except OSError as error:  # no memory or no number for another process
            self._report({"error": str(error)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how the push ended; a signal ends it."""
        if self.process is None:
            return
        if kind is not None and not issubclass(kind, Exception):
            self._end(self.process, "the run was stopped")
            return
        try:
            answer = self._answer(self.process)
        except subprocess.TimeoutExpired:
            self._end(self.process, f"it takes longer than {self.patience:.0f} s")
        except KeyboardInterrupt:
            self._end(self.process, "the wait for it was interrupted")
        else:
            self._report(answer)

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, str]:
        """Wait for the end of the process, and return what it says."""
        try:
            out, complaints = process.communicate(timeout=SHORTLY)
        except subprocess.TimeoutExpired:
            self.say(
                f"pushing to {self.repository}: waiting {self.patience / 60:.0f} min for it at most; the "
                "model is saved, Ctrl-C leaves"
            )
            out, complaints = process.communicate(timeout=self.patience)
        try:
            answer = json.loads(out.strip().rpartition("\n")[2])
        except ValueError:
            last = complaints.strip().rpartition("\n")[2]
            answer = {"error": last or f"its process ended with code {process.returncode}"}
        return {str(key): str(value) for key, value in answer.items()}

    def _end(self, process: subprocess.Popen[str], reason: str) -> None:
        process.kill()
        process.communicate()
        self._report({"error": reason})

    def _report(self, answer: dict[str, str]) -> None:
        if "address" in answer:
            self.say(f"pushed to {answer['address']}")
            return
        self.say(
            f"not pushed to {self.repository}: {answer['error'].rstrip('.')}. The model is in {self.folder}; "
            f"push it with: {self.again}"
        )


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
