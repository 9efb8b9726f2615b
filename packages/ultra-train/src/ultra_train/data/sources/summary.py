"""The counts of each source, as a table for the terminal and as an event for the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from ultra_train.data.sources.row_checker import SourceCounts

_LONGEST_NAME = 40
_COLUMNS = {
    "files": "files",
    "empty_files": "empty files",
    "other_files": "other files",
    "unreadable": "unreadable",
    "bad": "bad rows",
    "blank": "blank rows",
    "texts": "texts",
    "without_tokens": "without tokens",
    "repeated": "repeated",
    "split": "split",
    "documents": "documents",
    "tokens": "tokens",
}
"""The counts, and their titles in the table."""


def table(sources: Sequence[SourceCounts]) -> Iterator[str]:
    """Yield the lines of a table with one row per source, and then what was skipped.

    Columns of zeros are left out, except that of texts.
    """
    columns = [name for name in _COLUMNS if name == "texts" or any(getattr(c, name) for c in sources)]
    rows = [["source", *(_COLUMNS[name] for name in columns)]]
    rows += [[_short(counts.source), *(_number(counts, name) for name in columns)] for counts in sources]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
    for counts in sources:
        passed_over = counts.empty_files + counts.other_files
        if passed_over:
            yield _named(f"not read of {counts.source}", counts.passed_over, passed_over)
        if counts.faults:
            yield _named(f"skipped of {counts.source}", counts.faults, counts.bad + counts.unreadable)


def data_event(sources: Sequence[SourceCounts]) -> dict[str, Any]:
    """Return the event for the log: all counts of each source, and their sums in words."""
    sums = {name: sum(getattr(counts, name) for counts in sources) for name in _COLUMNS}
    words = [f"{sums[name]:,} {title}" for name, title in _COLUMNS.items() if sums[name] or name == "texts"]
    return {"event": "data", "reason": ", ".join(words), "sources": [attrs.asdict(c) for c in sources]}


def left_out(counts: SourceCounts) -> bool:
    """Return whether any file or row of a source was not used."""
    names = ("empty_files", "other_files", "unreadable", "bad", "blank", "without_tokens")
    return any(getattr(counts, name) for name in names)


def _number(counts: SourceCounts, name: str) -> str:
    estimated = name == "repeated" and not counts.repeated_exactly
    return f"{'about ' if estimated else ''}{getattr(counts, name):,}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"


def _named(what: str, names: Sequence[str], total: int) -> str:
    more = f"; and {total - len(names):,} more" if total > len(names) else ""
    return f"{what}: {'; '.join(names)}{more}"
