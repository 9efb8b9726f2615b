"""The console that a run prints to."""

from __future__ import annotations

import os

from rich.console import Console

from ultra_train.system.signals import Signals


class RunConsole(Console):
    """A console that survives the end of its reader: Ctrl-C also ends a ``tee`` behind it.

    Args:
        signals: the signals of the run; before the first signal, a closed pipe ends the run.
        quiet: print nothing, on all processes but the first.
    """

    def __init__(self, signals: Signals, *, quiet: bool = False) -> None:
        super().__init__(highlight=False, soft_wrap=True, quiet=quiet)
        self.signals = signals

    def on_broken_pipe(self) -> None:
        """Discard all further output, so that the checkpoint is saved all the same."""
        if self.signals.received is None:
            super().on_broken_pipe()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.file.fileno())
        os.close(nothing)
