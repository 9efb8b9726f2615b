"""Writing the metrics of a run: JSON lines, a CSV table of the updates, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.callbacks.metrics_file import MetricsFile
from ultra_train.trainer.update_callback import OMITTED_METRICS


class MetricsCallback(TrainerCallback, ExportableState):
    """Writes every line of the log to ``metrics.jsonl`` and TensorBoard, and training lines to the table.

    A checkpoint records the length and the checksum of the file, so that a resumed run ends with the same
    lines as an uninterrupted one.

    Args:
        file: ``metrics.jsonl``.
        open_table: opens the CSV table when training begins; None for no table.
        tensorboard: folder of TensorBoard's files, or None.
        persistent_events: returns the events that stay in the file when it is rewound (rollbacks).
        notify: is called with a line about damaged files.
    """

    def __init__(
        self,
        file: MetricsFile,
        *,
        open_table: Callable[[], CsvTable] | None = None,
        tensorboard: Path | None = None,
        persistent_events: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.file = file
        self.open_table = open_table
        self.table: CsvTable | None = None
        self.tensorboard = tensorboard
        self.persistent_events = persistent_events
        self.notify = notify
        self.writer: Any = None

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
        if self.tensorboard is not None and self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.tensorboard), purge_step=state.global_step + 1)

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
        self.table = self.table or self.open_table()
        if damaged:  # the table may be all that is left of the lost lines
            for path in self.table.set_aside():
                self.notify(f"the table of the updates is written anew; the former table is {path}")
        self.table.rewrite([r for r in lines if "loss" in r and "event" not in r])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        record = {"step": state.global_step, **{k: v for k, v in logs.items() if k not in OMITTED_METRICS}}
        self.file.write(record)
        if self.table is not None and "loss" in record:
            self.table.write(record)
        if self.writer is not None:
            for name, value in record.items():
                if isinstance(value, (int, float)) and name != "step":
                    group = "eval" if name.startswith("eval_") else "train"
                    self.writer.add_scalar(f"{group}/{name.removeprefix('eval_')}", value, state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close TensorBoard's files."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
