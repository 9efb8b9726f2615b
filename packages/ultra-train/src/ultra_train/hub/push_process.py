"""The upload of a folder in a process of its own.

A process can be ended whatever it hangs in; threads of the hub's client could not, and would keep Python from
exiting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

Answer = dict[str, str]
"""How a push ended: ``{"address": ...}`` or ``{"error": ...}``."""


class PushProcess:
    """A process that pushes a folder; it survives signals to the group of the run, which waits or ends it.

    Args:
        folder: the folder.
        repository: ``owner/name``, or ``name``.
        message: the first line of the commit.
        private: whether the repository is private when it is made; None: as the hub decides.

    Raises:
        OSError: there is no memory or no number for another process.
    """

    def __init__(self, folder: Path, repository: str, message: str, *, private: bool | None = None) -> None:
        asked = json.dumps({"message": message, "private": private})
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ultra_train.hub.process", str(folder), repository, asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def answer(self, timeout: float | None = None) -> Answer:
        """Wait for the end of the process, and return what it says.

        Raises:
            subprocess.TimeoutExpired: it did not end in this time.
        """
        out, complaints = self.process.communicate(timeout=timeout)
        try:
            answer = json.loads(out.strip().rpartition("\n")[2])
        except ValueError:
            last = complaints.strip().rpartition("\n")[2]
            answer = {"error": last or f"its process ended with code {self.process.returncode}"}
        return {str(key): str(value) for key, value in answer.items()}

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()
