"""A file of events for TensorBoard, to which whole records are appended."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ultra_train.system import files


class TensorBoardFile:
    """Appends the numbers of the log at once, so that a full disk or a kill leaves no half a record.

    The writer of torch hands events to a thread, which dies with the first full disk.

    Args:
        folder: folder of TensorBoard's files; a new file is made in it.
        resumed_at: update after which the run continues; later ones in older files are hidden.
    """

    def __init__(self, folder: Path, *, resumed_at: int = 0) -> None:
        self.folder = folder
        self.resumed_at = resumed_at
        self.path: Path | None = None

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append the numbers of an update, each under its tag."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()]
        events = [Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
        if self.path is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads the files in the order of their names
            name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}."
            self.path = files.new_file(self.folder, name)
        if not self.path.stat().st_size:
            events = [*self._first_events(), *events]
        files.append(self.path, _records(events))

    def _first_events(self) -> Iterator[Any]:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        yield Event(wall_time=time.time(), file_version="brain.Event:2")
        start = SessionLog(status=SessionLog.START)
        yield Event(wall_time=time.time(), step=self.resumed_at + 1, session_log=start)


def _records(events: list[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()
