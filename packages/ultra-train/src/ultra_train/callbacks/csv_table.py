"""``CsvTable``: one row for every line of training."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ultra_train.system import files
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.system.run_files import TABLE

_RECORD = "table"
_TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}


class CsvTable:
    """A CSV file whose header fits its rows; columns that a row lacks are left empty.

    Args:
        path: the file.
        rotate: whether a row with new columns starts another file, and the old one becomes ``name.1.csv``,
            ``name.2.csv``, ...; otherwise new columns are left out.
        owned: the record of the files that the run owns, such as ``name.1.csv``.
    """

    def __init__(self, path: Path, *, rotate: bool = True, owned: OwnedFiles | None = None) -> None:
        self.path = path
        self.rotate = rotate
        self.owned = owned

    @classmethod
    def of_run(cls, asked: Path, owned: OwnedFiles, *, rotate: bool = True) -> CsvTable:
        """Return the table of a run: the file that it owns, or a new one with the first unused name.

        A file that the run does not own is not touched; the table is then ``steps.2.csv`` instead of
        ``steps.csv``, and so on.

        Args:
            asked: the path in the preset.
            owned: the record of the files that the run owns.
            rotate: see the class.
        """
        asked, run = files.expand_user(asked).absolute(), owned.path.parent.absolute()
        if asked == run / TABLE:
            return cls(asked, rotate=rotate, owned=owned)
        facts = owned.get(_RECORD)
        if facts.get("asked") == str(asked) and _is_numbered(facts.get("path"), asked):
            path = Path(facts["path"])
            if not _is_copy(facts.get("run"), run) and _is_same_file(path, facts.get("file")):
                return cls(path, rotate=rotate, owned=owned)
        asked.parent.mkdir(parents=True, exist_ok=True)
        path = next(path for path in _candidates(asked) if files.create(path))
        owned.put(
            _RECORD,
            {"asked": str(asked), "path": str(path), "before": [], "run": str(run), "file": _identity(path)},
        )
        return cls(path, rotate=rotate, owned=owned)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a row."""
        columns = self._columns()
        if self._rotates(columns, record):
            self._before([*self._before(), str(files.set_aside(self.path))])
            columns = None
            files.create(self.path)
            self._note_identity()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns or list(record), extrasaction="ignore", restval="")
        if columns is None:
            writer.writeheader()
        writer.writerow(record)
        files.append(self.path, text.getvalue().encode(_TEXT["encoding"], _TEXT["errors"]))

    def rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace the table, and the files that it was rotated into, by a table of these records."""
        parts: list[tuple[list[str], list[Mapping[str, Any]]]] = []
        for record in records:
            if not parts or self._rotates(parts[-1][0], record):
                parts.append((list(record), []))
            parts[-1][1].append(record)
        paths = [Path(p) for p in self._before()]
        for path in paths[max(0, len(parts) - 1) :]:
            path.unlink(missing_ok=True)
        paths = paths[: max(0, len(parts) - 1)]
        while len(paths) < len(parts) - 1:
            paths.append(files.numbered(self.path))
        self._before([str(p) for p in paths])
        for path, (columns, rows) in zip([*paths, self.path], parts or [([], [])], strict=True):
            with (
                files.replacing(path) as temporary,
                temporary.open("w", **_TEXT) as file,
            ):
                writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
                if columns:
                    writer.writeheader()
                writer.writerows(rows)
        self._note_identity()

    def set_aside(self) -> list[Path]:
        """Rename the files of the table, and return their new paths."""
        there = [Path(p) for p in [*self._before(), str(self.path)] if os.path.isfile(p)]
        self._before([])
        return [files.set_aside(p, f"{self.path.stem}-damaged") for p in there if p.stat().st_size]

    def _note_identity(self) -> None:
        """Record which file the path is now, since every rewrite creates another one."""
        facts = {} if self.owned is None else self.owned.get(_RECORD)
        if self.owned is not None and facts.get("path") == str(self.path):
            self.owned.put(_RECORD, {**facts, "file": _identity(self.path)})

    def _rotates(self, columns: list[str] | None, record: Mapping[str, Any]) -> bool:
        return columns is not None and self.rotate and not record.keys() <= set(columns)

    def _before(self, paths: list[str] | None = None) -> list[str]:
        """Return the earlier files of the table, or record them."""
        if self.owned is None:
            return []
        facts = self.owned.get(_RECORD)
        if paths is None:
            before = facts.get("before", [])
            return [p for p in before if _is_numbered(p, self.path)] if isinstance(before, list) else []
        self.owned.put(_RECORD, {**facts, "before": paths})
        return paths

    def _columns(self) -> list[str] | None:
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        with self.path.open(encoding="utf-8", newline="", errors="replace") as file:
            return next(csv.reader(file), None)


def _identity(path: Path) -> list[int]:
    """Return what distinguishes a file from a later one of the same name."""
    found = path.stat()
    return [found.st_dev, found.st_ino]


def _is_same_file(path: Path, recorded: Any) -> bool:
    """Return whether a path is the recorded file, or is free."""
    return not os.path.lexists(path) or (path.is_file() and recorded in (None, _identity(path)))


def _is_copy(recorded: Any, run: Path) -> bool:
    """Return whether the record belongs to another existing run, of which this one is a copy."""
    return isinstance(recorded, str) and recorded != str(run) and os.path.isdir(recorded)


def _candidates(asked: Path) -> Iterator[Path]:
    yield asked
    yield from (asked.with_suffix(f".{number}{asked.suffix}") for number in count(2))


def _is_numbered(path: Any, asked: Path) -> bool:
    """Return whether a path is that of the table or of a numbered file beside it."""
    if not isinstance(path, str) or "\0" in path or Path(path).parent != asked.parent:
        return False
    name = rf"{re.escape(asked.stem)}(\.\d+)?{re.escape(asked.suffix)}"
    return re.fullmatch(name, Path(path).name) is not None
