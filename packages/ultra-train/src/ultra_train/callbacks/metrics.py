"""Writes what a run measures: JSON lines, a CSV table of the updates, TensorBoard."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

OMITTED = frozenset(
    {"total_flos", "train_samples_per_second", "train_steps_per_second", "eval_samples_per_second"}
)


class MetricsFile:
    """``metrics.jsonl``: one object a line; numbers that are not finite are written as texts.

    Args:
        path: the file; lines are added to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: _plain(v) for k, v in record.items()}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all whole lines; a line that a killed process left half-written is passed over."""
        if not self.path.exists():
            return []
        records = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def forget_after(self, step: int) -> None:
        """Drop the lines of later steps, which a resumed run computes again."""
        kept = [record for record in self.read() if record.get("step", 0) <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), "utf-8")
        os.replace(temporary, self.path)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class MetricsCallback(TrainerCallback):
    """Gives every line of the log to ``metrics.jsonl`` and to TensorBoard, those of training to the table.

    Args:
        file: the JSON lines.
        table: path of the CSV, or None.
        rotate: start another table when its columns change; else what is new is left out.
        tensorboard: folder of its files, or None.
    """

    def __init__(
        self,
        file: MetricsFile,
        *,
        table: Path | None = None,
        rotate: bool = True,
        tensorboard: Path | None = None,
    ) -> None:
        self.file = file
        self.table = Table(table, rotate=rotate) if table is not None else None
        self.tensorboard = tensorboard
        self.writer: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what a resumed run computes again."""
        if not state.is_world_process_zero:
            return
        self.file.forget_after(state.global_step)
        if self.table is not None:
            self.table.forget_after(state.global_step)
        if self.tensorboard is not None and self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.tensorboard), purge_step=state.global_step + 1)

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
        record = {"step": state.global_step, **{k: v for k, v in logs.items() if k not in OMITTED}}
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
        """Close TensorBoard's file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class Table:
    """A CSV whose header fits its rows; the same columns as before go on in the same file."""

    def __init__(self, path: Path, *, rotate: bool = True) -> None:
        self.path = path
        self.rotate = rotate

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a row; new columns start a new file, the old one becomes ``name.1.csv`` and so on."""
        columns = self._columns()
        if columns is not None and set(columns) != set(record) and self.rotate:
            number = 1
            while (aside := self.path.with_suffix(f".{number}{self.path.suffix}")).exists():
                number += 1
            self.path.rename(aside)
            columns = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns or list(record), extrasaction="ignore", restval="")
            if columns is None:
                writer.writeheader()
            writer.writerow(record)

    def forget_after(self, step: int) -> None:
        """Drop the rows of later steps."""
        if self._columns() is None:
            return
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(
                row for row in rows if (row.get("step") or "0").isdigit() and int(row["step"]) <= step
            )
        os.replace(temporary, self.path)

    def _columns(self) -> list[str] | None:
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        with self.path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), None)
