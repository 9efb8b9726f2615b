"""The record of a run's rollbacks: which micro-batches are left out from then on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ultra_train.system import files
from ultra_train.trainer.stream import Position, parse_positions


@attrs.define
class Rollbacks:
    """The rollbacks of a run, stored in a file so that a resumed run leaves out the same micro-batches.

    Attributes:
        path: the file.
        skipped: positions of the micro-batches that are left out.
        count: number of rollbacks.
        events: the lines of ``metrics.jsonl`` about them.
    """

    path: Path
    skipped: list[Position] = attrs.field(factory=list)
    count: int = 0
    events: list[dict[str, Any]] = attrs.field(factory=list)

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> Rollbacks:
        """Read the file, or start an empty record.

        A file that cannot be read is renamed, and the record in the checkpoint is used.

        Args:
            path: the file.
            checkpoint: the record in the checkpoint that the run resumes from.
            notify: is called with a line about a damaged file.
        """
        known = cls._from_record(path, checkpoint or {}) or cls(path)
        if not path.exists():
            return known
        try:
            here = cls._from_record(path, files.read_json(path))
        except (OSError, ValueError):
            here = None
        if here is None:
            aside = files.set_aside(path)
            notify(f"{path} is damaged; it is now {aside.name}, and the record in the checkpoint is used")
            return known
        return here if here.count >= known.count else known

    @classmethod
    def _from_record(cls, path: Path, record: Any) -> Rollbacks | None:
        if not isinstance(record, Mapping) or type(count := record.get("count", 0)) is not int or count < 0:
            return None
        skipped, events = parse_positions(record.get("skipped", [])), record.get("events", [])
        if skipped is None or not isinstance(events, list) or not all(isinstance(e, dict) for e in events):
            return None
        return cls(path, skipped, count, events)

    @property
    def record(self) -> dict[str, Any]:
        """The record as plain data, for the file and for checkpoints."""
        return {"count": self.count, "skipped": self.skipped, "events": self.events}

    def add(self, positions: Iterable[Position], event: Mapping[str, Any] | None = None) -> None:
        """Count a rollback, and leave out these micro-batches; :meth:`write` stores it."""
        self.skipped.extend(positions)
        self.count += 1
        if event is not None:
            self.events.append(dict(event))

    def write(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path, json.dumps(self.record))
