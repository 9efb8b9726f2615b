"""``metrics.jsonl``: the lines that a run writes about its training."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultra_train.system import files
from ultra_train.system.disk_space import DiskSpace


class MetricsFile:
    """One JSON object per line; numbers that are not finite are written as texts.

    Lines that find the disk full stay in memory, and are written before the next one.

    Args:
        path: the file; lines are appended to it.
        disk: waits for room where the whole file is written anew.
    """

    def __init__(self, path: Path, disk: DiskSpace | None = None) -> None:
        self.path = path
        self.disk = disk or DiskSpace()
        self._unwritten = b""

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line, which stays in memory while the disk is full."""
        self._unwritten += json.dumps({k: _plain(v) for k, v in record.items()}).encode() + b"\n"
        try:
            self.flush()
        except OSError as error:
            if not files.is_full_disk(error):
                raise

    def flush(self) -> None:
        """Write the lines that found the disk full.

        Raises:
            OSError: it still is; none of the lines is written.
        """
        if not self._unwritten:
            return
        unfinished = b"" if self._ends_with_a_line() else b"\n"  # a killed process left half a line
        files.append(self.path, unfinished + self._unwritten)
        self._unwritten = b""

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines; half a line that a killed process left is skipped."""
        return _records(self._content())[0]

    def state(self) -> dict[str, Any]:
        """Return what identifies the present content: its length and SHA-256."""
        content = self._content()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def rewind(self, step: int, state: Mapping[str, Any]) -> tuple[bool, Path | None]:
        """Restore the content that the file had after an update; later lines will be written again.

        Args:
            step: the update; 0 removes all lines.
            state: what :meth:`state` returned then; empty when it is not known.

        Returns:
            whether lines are missing or damaged, and the new path of a damaged file, whose readable lines
            stay in the present one.
        """
        content = self._content()
        size, damaged = state.get("bytes"), False
        if step == 0:
            content_then = b""
        elif type(size) is int and _digest(content[:size]) == (size, state.get("sha256")):
            content_then = content[:size]
        else:
            records, damaged = _records(content)
            damaged = damaged or bool(state)
            lines = [json.dumps(r) + "\n" for r in records if r.get("step", 0) <= step]
            content_then = "".join(lines).encode()
        if content_then == content:
            return damaged, None
        aside = None
        if damaged and content:
            aside = files.set_aside(self.path, f"{self.path.stem}-damaged")
        text, self._unwritten = content_then.decode("utf-8"), b""
        self.disk.write(
            lambda: files.write_text(self.path, text), self.path.name, self.path.parent, len(content_then)
        )
        return damaged, aside

    def _ends_with_a_line(self) -> bool:
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _content(self) -> bytes:
        return (self.path.read_bytes() if self.path.exists() else b"") + self._unwritten


def _digest(content: bytes) -> tuple[int, str]:
    return len(content), hashlib.sha256(content).hexdigest()


def _records(content: bytes) -> tuple[list[dict[str, Any]], bool]:
    """Return the valid lines, and whether there are invalid ones.

    Half a line at the end, which a killed process leaves, does not count as invalid.
    """
    valid, invalid = [], 0
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
            valid.append(record)
        else:
            invalid += 1
    return valid, bool(invalid)


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_plain(value: Any) -> bool:
    return type(value) is not int or abs(value) < 2**63


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
