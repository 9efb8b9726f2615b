"""Checking and counting the rows of a source; a bad row is an error, or is skipped and reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from ultra_train.data.errors import DataError

OnBadRows = Literal["error", "skip"]

NAMED = 5
"""Number of faults, and of skipped files, that are reported in words; all of them are counted."""


@attrs.define
class SourceCounts:
    """Counts of the files, rows and texts of one source.

    Attributes:
        source: the source as the preset names it.
        files: files that were read.
        empty_files: files without content, which were skipped.
        other_files: entries that were skipped because they are not files of a known format.
        unreadable: files, and row groups of Parquet files, that could not be read to their end.
        blank: rows without text: empty, white space, null.
        bad: rows that could not be used.
        texts: rows with text.
        without_tokens: texts that have no tokens.
        repeated: texts that occurred before, in this source or an earlier one; they are used all the same.
        repeated_exactly: whether ``repeated`` is exact, or an estimate; see ``Duplicates``.
        split: texts longer than ``max_length``, which became several documents.
        documents: documents, which are texts or parts of long texts.
        tokens: tokens of all documents.
        faults: the first faults, with file and row.
        passed_over: the first of the skipped files.
    """

    source: str
    files: int = 0
    empty_files: int = 0
    other_files: int = 0
    unreadable: int = 0
    blank: int = 0
    bad: int = 0
    texts: int = 0
    without_tokens: int = 0
    repeated: int = 0
    repeated_exactly: bool = True
    split: int = 0
    documents: int = 0
    tokens: int = 0
    faults: list[str] = attrs.Factory(list)
    passed_over: list[str] = attrs.Factory(list)


class RowChecker:
    """Checks and counts the rows of one source.

    Args:
        source: the source as the preset names it.
        on_bad_rows: ``"error"`` raises the fault of a bad row or file; ``"skip"`` counts and names it.
    """

    def __init__(self, source: str = "", on_bad_rows: OnBadRows = "error") -> None:
        self.counts = SourceCounts(source)
        self._skips = on_bad_rows == "skip"

    def text(self, value: object, where: str, column: str) -> Sequence[str]:
        """Return ``[value]``, or ``[]`` for a null or blank text and for what is skipped.

        Args:
            value: value of the column in a row.
            where: file and line, or row, for the error message.
            column: the column.

        Raises:
            DataError: the value is not a text, or has lone surrogates, which cannot be encoded.
        """
        if value is None:
            self.blank()
            return []
        if not isinstance(value, str):
            kind = type(value).__name__
            self.bad(DataError(f"{where}: column {column!r} holds {kind}, but a text is needed."))
            return []
        if not value.strip():
            self.blank()
            return []
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = (
                    f"half a surrogate pair (U+{ord(value[error.start]):04X} at character {error.start + 1})"
                )
                self.bad(DataError(f"{where}: column {column!r} holds {half}, which is not a text."))
                return []
        self.counts.texts += 1
        return [value]

    def blank(self) -> None:
        """Count a row without text."""
        self.counts.blank += 1

    def bad(self, fault: DataError) -> None:
        """Skip, count and report a row that cannot be used, or raise its fault."""
        if not self._skips:
            raise DataError(f"{fault} Correct the row, or skip such rows with on_bad_rows: skip.") from fault
        self.counts.bad += 1
        self._report(fault)

    def unreadable_texts(self, fault: DataError) -> None:
        """Skip, count and report the unreadable rest of a file or row group, or raise its fault."""
        if not self._skips:
            raise fault
        self.counts.unreadable += 1
        self._report(fault)

    def _report(self, fault: DataError) -> None:
        if len(self.counts.faults) < NAMED:
            self.counts.faults.append(str(fault))
