"""Writing the metrics of a run: JSON lines, a CSV table of the updates, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.callbacks.tensorboard_file import TensorBoardFile
from ultra_train.system.disk_space import DiskSpace
from ultra_train.trainer.update_callback import OMITTED_METRICS

T = TypeVar("T")


class MetricsCallback(TrainerCallback, ExportableState):
    """Writes every line of the log to ``metrics.jsonl`` and TensorBoard, and training lines to the table.

    When the disk is full, training pauses at the line that found it so, on all processes.

    A checkpoint records the length and the checksum of the file, so that a resumed run ends with the same
    lines as an uninterrupted one.

    Args:
        file: ``metrics.jsonl``.
        open_table: opens the CSV table when training begins; None for no table.
        tensorboard: folder of TensorBoard's files, or None.
        disk: waits for room when the disk is full.
        persistent_events: returns the events that stay in the file when it is rewound (rollbacks).
        notify: is called with a line about damaged files.
    """

    def __init__(
        self,
        file: MetricsFile,
        *,
        open_table: Callable[[], CsvTable] | None = None,
        tensorboard: Path | None = None,
        disk: DiskSpace | None = None,
        persistent_events: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.file = file
        self.open_table = open_table
        self.table: CsvTable | None = None
        self.tensorboard = tensorboard
        self.disk = disk or DiskSpace(notify)
        self.persistent_events = persistent_events
        self.notify = notify
        self.events: TensorBoardFile | None = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint records of the file."""
        return {"args": {}, "attributes": self.file.state()}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the lines that a resumed run will write again."""
        if not state.is_world_process_zero:
            return
        self._rewind(state)
        if self.tensorboard is not None:
            self.events = TensorBoardFile(self.tensorboard, resumed_at=state.global_step)

    def on_finished(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the lines after the last checkpoint of a finished run, which are written again."""
        if state.is_world_process_zero:
            self._rewind(state)

    def _rewind(self, state: TrainerState) -> None:
        callbacks: Any = state.stateful_callbacks or {}  # a mapping, whatever its annotation says
        recorded = callbacks.get(type(self).__name__)
        known = recorded.get("attributes") if isinstance(recorded, dict) else None
        damaged, aside = self.file.rewind(state.global_step, known if isinstance(known, dict) else {})
        if aside is not None:
            self.notify(
                f"{self.file.path} was damaged: its readable lines are kept; the damaged one is {aside.name}"
            )
        elif damaged:
            self.notify(f"{self.file.path} has lost lines of earlier updates")
        lines = self.file.read()
        for event in self.persistent_events():
            if json.loads(json.dumps(event)) not in lines:
                self.file.write(event)
        if self.open_table is None:
            return
        open_table = self.open_table
        self.table = self.table or self._write("the table of the updates", open_table)
        table = self.table
        if damaged:  # the table may be all that is left of the lost lines
            for path in table.set_aside():
                self.notify(f"the table of the updates is written anew; the former table is {path}")
        rows = [r for r in lines if "loss" in r and "event" not in r]
        self._write("the table of the updates", lambda: table.rewrite(rows))

    def _write(self, what: str, write: Callable[[], T]) -> T:
        return self.disk.write(write, what, self.file.path.parent)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line."""
        if not logs or "train_runtime" in logs:
            return
        left: list[Callable[[], None]] = []
        if state.is_world_process_zero:
            record = {
                "step": state.global_step,
                **{k: v for k, v in logs.items() if k not in OMITTED_METRICS},
            }
            self.file.write(record)
            left = self._writes(record)

        def write_the_rest() -> None:
            while left:
                left[0]()
                del left[0]

        what = f"the metrics of step {state.global_step}"
        self.disk.write_together(write_the_rest, what, self.file.path.parent)

    def _writes(self, record: Mapping[str, Any]) -> list[Callable[[], None]]:
        """Return what is to be written for a line of the log, each to be called until it does not fail."""
        table, events, step = self.table, self.events, record["step"]
        writes = [self.file.flush]
        if table is not None and "loss" in record:
            writes.append(lambda: table.write(record))
        if events is not None:
            numbers = {k: v for k, v in record.items() if isinstance(v, (int, float)) and k != "step"}
            groups = {k: "eval" if k.startswith("eval_") else "train" for k in numbers}
            tagged = {f"{groups[k]}/{k.removeprefix('eval_')}": v for k, v in numbers.items()}
            writes.append(lambda: events.write(step, tagged))
        return writes
