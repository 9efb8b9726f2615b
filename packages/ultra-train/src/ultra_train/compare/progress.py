"""How the trials of a comparison are going: a line that changes on a terminal, and a line at each end."""

from __future__ import annotations

import json
import time
from typing import Any

from rich.console import Console

from ultra_train.compare.folder import ComparisonFolder
from ultra_train.compare.plan import Trial
from ultra_train.compare.results import read_result
from ultra_train.compare.words import duration
from ultra_train.system.run_files import METRICS

_REFRESH_SECONDS = 1.0
_TAIL = 4096


class TrialProgress:
    """Prints which trial runs, how far it is, and how it ended.

    Args:
        console: where to print.
        folder: the folder of the comparison.
    """

    def __init__(self, console: Console, folder: ComparisonFolder) -> None:
        self.console = console
        self.folder = folder
        self._trial: Trial | None = None
        self._place = ""
        self._shown = 0.0

    def started(self, trial: Trial, number: int, count: int) -> None:
        """Note the trial."""
        self._trial, self._place = trial, f"{number}/{count}"

    def watch(self) -> None:
        """Show the newest line of the metrics of the trial, at most once a second; only on a terminal."""
        if not self.console.is_terminal or time.monotonic() - self._shown < _REFRESH_SECONDS:
            return
        self._shown = time.monotonic()
        newest = self._newest()
        said = "preparing" if newest is None else f"update {newest['step']:,}  loss {newest['loss']:.3f}"
        line = f"{self._place}  {self._trial.name if self._trial else ''}  {said}"
        self.console.print(f"\r\x1b[2K{line[: self.console.width - 1]}", end="", markup=False, soft_wrap=True)

    def ended(self, trial: Trial, record: dict[str, Any]) -> None:
        """Print how a trial ended."""
        if self.console.is_terminal:
            self.console.print("\r\x1b[2K", end="", markup=False)
        result = read_result(trial, self.folder)
        loss = result.final("eval_loss")
        said = result.problem or (f"loss {loss:.3f}" if loss is not None else "no loss was measured")
        spent = duration(float(record.get("wall_seconds", 0.0)))
        self.console.print(f"{self._place}  {trial.name}: {said}  ({spent})", markup=False)

    def _newest(self) -> dict[str, Any] | None:
        if self._trial is None:
            return None
        try:
            with (self.folder.run(self._trial) / METRICS).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL))
                lines = file.read().splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            try:
                record = json.loads(line)
            except ValueError:
                continue  # half a line
            if isinstance(record, dict) and isinstance(record.get("loss"), float):
                return record
        return None
