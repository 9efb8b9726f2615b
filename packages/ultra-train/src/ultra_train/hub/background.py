"""A push beside the end of a run, which it can neither stop nor fail."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ultra_train.hub.push_process import Answer, PushProcess
from ultra_train.hub.upload import MESSAGE

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
        private: whether the repository is private when it is made; None: as the hub decides.
    """

    def __init__(
        self,
        folder: Path,
        repository: str,
        *,
        again: str,
        say: Callable[[str], None],
        patience: float | None = None,
        private: bool | None = None,
    ) -> None:
        self.folder = folder
        self.repository = repository
        self.again = again
        self.say = say
        self.private = private
        self.patience = PATIENCE + _megabytes(folder) if patience is None else patience
        self.push: PushProcess | None = None

    def __enter__(self) -> BackgroundPush:
        """Start the push."""
        try:
            self.push = PushProcess(self.folder, self.repository, MESSAGE, private=self.private)
        except OSError as error:
            self._report({"error": str(error)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how the push ended; a signal ends it."""
        if self.push is None:
            return
        if kind is not None and not issubclass(kind, Exception):
            self._end(self.push, "the run was stopped")
            return
        try:
            answer = self._answer(self.push)
        except subprocess.TimeoutExpired:
            self._end(self.push, f"it takes longer than {self.patience:.0f} s")
        except KeyboardInterrupt:
            self._end(self.push, "the wait for it was interrupted")
        else:
            self._report(answer)

    def _answer(self, push: PushProcess) -> Answer:
        """Wait for the end of the push, and return what it says."""
        try:
            return push.answer(SHORTLY)
        except subprocess.TimeoutExpired:
            self.say(
                f"pushing to {self.repository}: waiting {self.patience / 60:.0f} min for it at most; the "
                "model is saved, Ctrl-C leaves"
            )
            return push.answer(self.patience)

    def _end(self, push: PushProcess, reason: str) -> None:
        push.end()
        self._report({"error": reason})

    def _report(self, answer: Answer) -> None:
        if "address" in answer:
            self.say(f"pushed to {answer['address']}")
            return
        self.say(
            f"not pushed to {self.repository}: {answer['error'].rstrip('.')}. The model is in {self.folder}; "
            f"push it with: {self.again}"
        )


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
