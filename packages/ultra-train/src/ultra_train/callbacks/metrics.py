"""Writes what a run measures: JSON lines, a CSV table of the updates, TensorBoard."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ultra_train.callbacks.csv_table import CsvTable
from ultra_train.system import files
from ultra_train.trainer.update_callback import OMITTED_METRICS


class MetricsFile:
    """``metrics.jsonl``: one object a line; numbers that are not finite are written as texts.

    Args:
        path: the file; lines are added to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line."""
        line = json.dumps({k: _plain(v) for k, v in record.items()}) + "\n"
        with self.path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else f"\n{line}"  # a kill left half a line
            file.write(line.encode())

    def read(self) -> list[dict[str, Any]]:
        """Return all whole lines; a line that a killed process left half-written is passed over."""
        return _records(self._content())[0]

    def state(self) -> dict[str, Any]:
        """Return what tells the present content from any other: its length and SHA-256."""
        content = self._content()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def go_back_to(self, step: int, state: Mapping[str, Any]) -> tuple[bool, Path | None]:
        """Make it what it was at an update; what later ones wrote is computed again.

        Args:
            step: the update; 0 forgets everything.
            state: what :meth:`state` was then; empty when it is not known.

        Returns:
            whether lines are missing or damaged, and the new name of a damaged file; the lines of it that can
            be read are kept.
        """
        content = self._content()
        size, damaged = state.get("bytes"), False
        if step == 0:
            kept = b""
        elif type(size) is int and _digest(content[:size]) == (size, state.get("sha256")):
            kept = content[:size]
        else:
            records, damaged = _records(content)
            damaged = damaged or bool(state)
            lines = [json.dumps(r) + "\n" for r in records if r.get("step", 0) <= step]
            kept = "".join(lines).encode()
        if kept == content:
            return damaged, None
        aside = None
        if damaged and content:
            aside = files.set_aside(self.path, f"{self.path.stem}-damaged")
        files.write_text(self.path, kept.decode("utf-8"))
        return damaged, aside

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


def _digest(content: bytes) -> tuple[int, str]:
    return len(content), hashlib.sha256(content).hexdigest()


def _records(content: bytes) -> tuple[list[dict[str, Any]], bool]:
    """Return the lines that a run may have written, and whether there are others.

    The last may be half a line, which a kill leaves.
    """
    found, others = [], 0
    *lines, _ = content.split(b"\n")
    for line in lines:
        try:
            record = files.parse_json(line)
        except ValueError:
            record = None
        if (
            isinstance(record, dict)
            and all(map(_is_plain, record.values()))
            and _is_step(record.get("step", 0))
        ):
            found.append(record)
        else:
            others += 1
    return found, bool(others)


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_plain(value: Any) -> bool:
    return type(value) is not int or abs(value) < 2**63


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class MetricsCallback(TrainerCallback, ExportableState):
    """Gives every line of the log to ``metrics.jsonl`` and to TensorBoard, those of training to the table.

    A checkpoint records the length and the checksum that the lines had, so that a run that goes on from it
    has the lines of one that never stopped.

    Args:
        file: the JSON lines.
        table: opens the CSV when training begins, or None.
        tensorboard: folder of its files, or None.
        again: returns events that are older than what a run goes back to and stay all the same.
        say: hears of files that are damaged.
    """

    def __init__(
        self,
        file: MetricsFile,
        *,
        table: Callable[[], CsvTable] | None = None,
        tensorboard: Path | None = None,
        again: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.file = file
        self.open_table = table
        self.table: CsvTable | None = None
        self.tensorboard = tensorboard
        self.again = again
        self.say = say
        self.writer: Any = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint records."""
        return {"args": {}, "attributes": self.file.state()}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what a resumed run computes again."""
        if not state.is_world_process_zero:
            return
        self._go_back_to(state)
        if self.tensorboard is not None and self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.tensorboard), purge_step=state.global_step + 1)

    def on_finished(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what followed the last checkpoint of a run that trains no further, and is measured again."""
        if state.is_world_process_zero:
            self._go_back_to(state)

    def _go_back_to(self, state: TrainerState) -> None:
        callbacks: Any = state.stateful_callbacks or {}  # a mapping, whatever its annotation says
        recorded = callbacks.get(type(self).__name__)
        known = recorded.get("attributes") if isinstance(recorded, dict) else None
        damaged, aside = self.file.go_back_to(state.global_step, known if isinstance(known, dict) else {})
        if aside is not None:
            self.say(f"{self.file.path} was damaged: what can be read of it is kept; it is now {aside.name}")
        elif damaged:
            self.say(f"{self.file.path} has lost lines of the updates before this one")
        there = self.file.read()
        for event in self.again():
            if json.loads(json.dumps(event)) not in there:
                self.file.write(event)
        if self.open_table is None:
            return
        self.table = self.table or self.open_table()
        if damaged:  # the table may be what is left of the lines
            for path in self.table.set_aside():
                self.say(f"the table of the updates is made from them anew; the one that was there is {path}")
        self.table.rewrite([r for r in there if "loss" in r and "event" not in r])

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
        """Close TensorBoard's file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
